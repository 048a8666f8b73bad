import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { AuditOutbox } from '#mesh/audit/outbox.ts'
import { auditOutboxStore } from '#mesh/audit/outbox.postgres.ts'
import { Secret } from '#mesh/config.ts'
import { Database } from '#mesh/postgres/database.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { type TcpProxy, tcpProxy, through } from '../../fakes/tcp-proxy.ts'
import { until } from '../../fixtures/mesh/until.ts'
import { type FreshDatabase, freshDatabase } from '../../setup/database.ts'
import { anEvent } from '../audit/events.ts'

let fresh: FreshDatabase
let direct: Database
let proxy: TcpProxy
let database: Database
const outboxes: AuditOutbox[] = []
const log = pino({ level: 'silent' })
beforeAll(async () => {
  fresh = await freshDatabase('services/actions/migrations')
  direct = new Database({ url: new Secret(fresh.url), log })
  const { hostname: host, port } = new URL(fresh.url)
  proxy = await tcpProxy({ host, port: Number(port || 5432) })
  database = new Database({ url: new Secret(through(proxy, fresh.url)), log })
})
beforeEach(() => direct.pool.query('DELETE FROM audit_outbox'))
afterAll(async () => {
  for (const outbox of outboxes) await outbox.stop()
  proxy?.resume()
  await database?.close()
  await direct?.close()
  await proxy?.close()
  await fresh?.drop()
})

/** Events that occurred ten minutes ago. */
const write = (count: number) =>
  direct.pool.query(
    `INSERT INTO audit_outbox (event_id, event, due_at) SELECT lpad(to_hex(at), 32, '0')::uuid, $1, now() - interval '10 minutes'
     FROM generate_series(1, $2::int) AS at`,
    [JSON.stringify({ ...anEvent(), occurredAt: new Date(Date.now() - 600_000).toISOString() }), count],
  )

function gauges() {
  const metrics = new Metrics('test')
  // Its round is never; only the gauges are looked at.
  outboxes.push(
    new AuditOutbox({
      store: auditOutboxStore(database, 'backlog-test'),
      append: async () => undefined,
      log,
      intervalMs: 3_600_000,
      metrics,
    }),
  )
  return async () => {
    const text = await metrics.registry.metrics()
    const value = (name: string) => Number(new RegExp(`^${name}\\S* (\\S+)$`, 'm').exec(text)?.[1])
    return { count: value('audit_outbox_backlog'), lag: value('audit_outbox_lag_seconds'), aside: value('audit_outbox_dead_letters') }
  }
}

test('a backlog beyond what is counted shows as that many, and as old as it is', async () => {
  await write(10_100)
  const { count, lag } = await gauges()()
  expect(count).toBe(10_000)
  expect(lag).toBeGreaterThan(590)
})

test.each(['silence', 'refuse'] as const)(
  'while the database does not answer (%s), a backlog stays, grows older, and a scrape does not wait for it',
  async (fault) => {
    await write(3)
    const read = gauges()
    const before = await read()
    expect(before).toMatchObject({ count: 3, aside: 0 })
    proxy[fault]()
    try {
      await until('it has grown older by more than two seconds', async () => {
        const asked = performance.now()
        const { count, lag } = await read()
        expect(performance.now() - asked).toBeLessThan(2500)
        expect(count).toBe(3)
        return lag > before.lag + 2
      })
    } finally {
      proxy.resume()
      proxy.cut()
    }
    await direct.pool.query('DELETE FROM audit_outbox')
    await until('it is seen that nothing waits', async () => (await read()).count === 0, 15_000)
    expect(await read()).toEqual({ count: 0, lag: 0, aside: 0 })
  },
)

test('a backlog that was never seen is no number that cannot be compared', async () => {
  const read = gauges()
  proxy.refuse()
  try {
    expect(await read()).toEqual({ count: 0, lag: 0, aside: 0 })
  } finally {
    proxy.resume()
  }
})
