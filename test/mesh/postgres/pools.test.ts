import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Secret } from '#mesh/config.ts'
import { openPools, splitConnections } from '#mesh/postgres/pools.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { type FreshDatabase, freshDatabase } from '../../setup/database.ts'

const log = pino({ level: 'silent' })
const one = { name: 'test one', text: 'SELECT 1 AS one' }
let fresh: FreshDatabase
beforeAll(async () => void (fresh = await freshDatabase()))
afterAll(() => fresh?.drop())

test('connections are shared out, none more than there are, and each pool has one at least', () => {
  expect(splitConnections(10, { reserved: 0.3, reads: 0.2 })).toEqual({ main: 5, reserved: 3, reads: 2 })
  expect(splitConnections(200, { reserved: 0.3, reads: 0.2 })).toEqual({ main: 100, reserved: 60, reads: 40 })
  expect(splitConnections(1, { reserved: 0.3, reads: 0.2 })).toEqual({ main: 1, reserved: 1, reads: 1 })
})

test('a pool whose connections are all taken keeps neither another pool nor a ping waiting, and metrics tell them apart', async () => {
  const metrics = new Metrics('tests')
  const pools = openPools({ url: new Secret(fresh.url), log, metrics, connections: 2 }, { reads: 0.5 })
  const taken = Promise.withResolvers<void>()
  const holding = pools.reads.transaction(() => taken.promise)
  try {
    expect(await pools.main.query(one)).toEqual([{ one: 1 }])
    await pools.reads.ping()
    await expect(pools.reads.query(one)).rejects.toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
    const counted = await metrics.registry.getSingleMetricAsString('postgres_pool_connections')
    expect(counted).toMatch(/\{pool="reads",state="used",service="tests"\} 1/)
    expect(counted).toMatch(/\{pool="main",state="idle",service="tests"\} 1/)
  } finally {
    taken.resolve()
    await holding
    await pools.close()
  }
})
