import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { Secret } from '#mesh/config.ts'
import { MeshError, errorTable } from '#mesh/errors.ts'
import { Database, type DatabaseParts } from '#mesh/postgres/database.ts'
import { openPools } from '#mesh/postgres/pools.ts'
import type { Statement } from '#mesh/postgres/statement.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { type TcpProxy, tcpProxy, through } from '../../fakes/tcp-proxy.ts'
import { until } from '../../fixtures/mesh/until.ts'
import { type FreshDatabase, freshDatabase } from '../../setup/database.ts'

const log = pino({ level: 'silent' })
const sql = (text: string): Statement => ({ name: text.slice(0, 63), text })
const unavailable = { reason: 'DEPENDENCY_UNAVAILABLE', code: 'UNAVAILABLE' }

describe('a database', () => {
  let fresh: FreshDatabase
  const opened: Database[] = []
  const open = (parts: Partial<DatabaseParts> & { at?: string } = {}): Database => {
    const { at = fresh.url, ...rest } = parts
    const database = new Database({ url: new Secret(at), log, ...rest })
    opened.push(database)
    return database
  }
  beforeAll(async () => {
    fresh = await freshDatabase()
    await open().query(sql('CREATE TABLE things (name text PRIMARY KEY)'))
  })
  afterEach(() => Promise.all(opened.splice(0).map((database) => database.close())))
  afterAll(() => fresh.drop())

  const insert = sql('INSERT INTO things VALUES ($1)')
  const exists = async (database: Database, name: string): Promise<boolean> =>
    (await database.query(sql('SELECT 1 FROM things WHERE name = $1'), [name])).length > 0

  test('after one timeout of a silent server, no other idle connection is waited for: not by queries, nor by transactions', async () => {
    const proxy = await tcpProxy({ host: '127.0.0.1', port: Number(new URL(fresh.url).port || 5432) })
    try {
      const pools = openPools({ url: new Secret(through(proxy, fresh.url)), log, connections: 8, statementMs: 500 }, { reserved: 0.5 })
      try {
        // Every one of the eight connections is opened, and lies idle.
        const hold = sql('SELECT pg_sleep(0.1)')
        await Promise.all([pools.main, pools.reserved].flatMap((pool) => Array.from({ length: 4 }, () => pool.query(hold))))
        expect([pools.main.pool.idleCount, pools.reserved.pool.idleCount]).toEqual([4, 4])
        expect(proxy.accepted).toBe(8)
        // These connections pass nothing on any more, for good; the server takes others.
        proxy.silence()
        await expect(pools.main.query(sql('SELECT 1'))).rejects.toMatchObject(unavailable)
        const old = proxy.accepted
        proxy.abandon()
        const asked = performance.now()
        expect(await pools.main.query(sql('SELECT 1 AS one'))).toEqual([{ one: 1 }])
        await pools.main.transaction((queries) => queries.query(sql('SELECT 1')))
        await pools.reserved.query(sql('SELECT 1'))
        // A time-out is a second: one of them would show.
        expect(performance.now() - asked).toBeLessThan(900)
        expect(proxy.accepted).toBe(old + 2)
        expect([pools.main.pool.totalCount, pools.reserved.pool.totalCount]).toEqual([1, 1])
      } finally {
        await pools.close()
      }
    } finally {
      await proxy.close()
    }
  })

  test('a statement that the server cancels drops no other connection', async () => {
    const database = open({ connections: 3, statementMs: 300 })
    await Promise.all(Array.from({ length: 3 }, () => database.query(sql('SELECT pg_sleep(0.1)'))))
    await expect(database.query(sql('SELECT pg_sleep(5)'))).rejects.toMatchObject(unavailable)
    await database.query(sql('SELECT 1'))
    expect(database.pool.totalCount).toBe(2)
  })

  test('prepares a statement once per connection', async () => {
    const database = open({ connections: 1 })
    for (let turn = 0; turn < 3; turn += 1) await database.query(sql('SELECT $1::int AS one'), [turn])
    const rows = await database.query<{ uses: number }>(
      sql(`SELECT (generic_plans + custom_plans)::int AS uses FROM pg_prepared_statements WHERE name = 'SELECT $1::int AS one'`),
    )
    expect(rows).toEqual([{ uses: 3 }])
  })

  test('a transaction that resolves is committed; one that throws leaves nothing, and rethrows', async () => {
    const database = open()
    const [kept, lost] = [randomUUID(), randomUUID()]
    expect(await database.transaction(async (queries) => (await queries.query(insert, [kept]), 'result'))).toBe('result')
    const failure = new Error('no')
    await expect(
      database.transaction(async (queries) => {
        await queries.query(insert, [lost])
        throw failure
      }),
    ).rejects.toBe(failure)
    expect(await exists(database, kept)).toBe(true)
    expect(await exists(database, lost)).toBe(false)
  })

  test('a mistake in a statement is not an outage, whatever words it quotes', async () => {
    const database = open()
    const name = randomUUID()
    await database.query(insert, [name])
    await expect(database.query(insert, [name])).rejects.toMatchObject({ code: '23505' })
    await expect(database.query(sql('SELECT $1::uuid'), ['timeout: Connection terminated'])).rejects.toMatchObject({ code: '22P02' })
    await expect(database.query(sql('SELECT connection_timeout'))).rejects.toMatchObject({ code: '42703' })
  })

  test("an error of a service's own passes through a transaction as it is, whatever words it says", async () => {
    const { RUN_ENDED } = errorTable('tests', { RUN_ENDED: { code: 'FAILED_PRECONDITION', message: 'The run has ended: timeout.' } })
    const error = RUN_ENDED()
    await expect(open().transaction(() => Promise.reject(error))).rejects.toBe(error)
  })

  test('a slow statement is given up as unavailable, and the connection stays usable', async () => {
    const database = open({ connections: 1, statementMs: 200 })
    await expect(database.query(sql('SELECT pg_sleep(30)'))).rejects.toMatchObject(unavailable)
    await expect(database.transaction((queries) => queries.query(sql('SELECT pg_sleep(30)')))).rejects.toMatchObject(unavailable)
    expect(await database.query(sql('SELECT 1 AS one'))).toEqual([{ one: 1 }])
  })

  test('a long wait for a connection fails as unavailable', async () => {
    const database = open({ connections: 1 })
    await database.transaction(async () => {
      const waiting = await Promise.allSettled([database.query(sql('SELECT 1')), database.transaction(async () => undefined)])
      expect(waiting.map((each) => each.status === 'rejected' && (each.reason as MeshError).reason)).toEqual([
        'DEPENDENCY_UNAVAILABLE',
        'DEPENDENCY_UNAVAILABLE',
      ])
    })
    expect(await database.query(sql('SELECT 1 AS one'))).toEqual([{ one: 1 }])
  })

  test('connections that the server closes, idle or in use, are replaced', async () => {
    const [database, other] = [open({ connections: 1 }), open()]
    const kill = (pid: number) => other.query(sql('SELECT pg_terminate_backend($1)'), [pid])
    const pid = async () => (await database.query<{ pid: number }>(sql('SELECT pg_backend_pid() AS pid')))[0]!.pid

    const busy = await pid()
    const asleep = database.query(sql('SELECT pg_sleep(60)')).catch((error: MeshError) => error)
    await until('the statement runs', async () => {
      const rows = await other.query(sql(`SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND state = 'active'`), [busy])
      return rows.length > 0
    })
    await kill(busy)
    expect(await asleep).toMatchObject(unavailable)

    const idle = await pid()
    expect(idle).not.toBe(busy)
    await kill(idle)
    await until('the pool has noticed', () => database.pool.totalCount === 0)
    expect(await pid()).not.toBe(idle)
  })

  test('a connection that breaks within a transaction rolls it back and is replaced', async () => {
    const [database, other] = [open({ connections: 1 }), open()]
    const name = randomUUID()
    await expect(
      database.transaction(async (queries) => {
        await queries.query(insert, [name])
        const [{ pid }] = (await queries.query<{ pid: number }>(sql('SELECT pg_backend_pid() AS pid'))) as [{ pid: number }]
        await other.query(sql('SELECT pg_terminate_backend($1)'), [pid])
        await queries.query(sql('SELECT 1'))
      }),
    ).rejects.toMatchObject(unavailable)
    expect(await exists(database, name)).toBe(false)
  })

  test('a missing server is unavailable at once', async () => {
    const closed = createServer().listen(0, '127.0.0.1')
    await once(closed, 'listening')
    const { port } = closed.address() as AddressInfo
    closed.close()
    await once(closed, 'close')
    const began = performance.now()
    await expect(open({ at: `postgres://relay:secret@127.0.0.1:${port}/none` }).query(sql('SELECT 1'))).rejects.toMatchObject(unavailable)
    expect(performance.now() - began).toBeLessThan(1000)
  })

  describe('whose server falls silent', () => {
    let proxy: TcpProxy
    beforeAll(async () => {
      const target = new URL(fresh.url)
      proxy = await tcpProxy({ host: target.hostname, port: Number(target.port) })
    })
    afterEach(() => proxy.restore())
    afterAll(() => proxy.close())
    const one = sql('SELECT 1 AS one')

    test('fails as unavailable within its limits, for calls in progress and waiting ones, and recovers when it responds', async () => {
      const database = open({ at: through(proxy, fresh.url), connections: 1, statementMs: 300 })
      await database.query(one)
      proxy.silence()
      const silenced = performance.now()
      const calls = [database.query(one), database.transaction((queries) => queries.query(one))]
      for (const each of await Promise.allSettled(calls)) expect(each).toMatchObject({ status: 'rejected', reason: unavailable })
      expect(performance.now() - silenced).toBeLessThan(4000)
      proxy.restore()
      const responses = () =>
        database.query(one).then(
          () => true,
          () => false,
        )
      await until('it answers again', responses)
    })

    test('gives a transaction up without waiting for its rollback', async () => {
      const database = open({ at: through(proxy, fresh.url), statementMs: 1500 })
      const began = performance.now()
      const lost = database.transaction(async (queries) => {
        await queries.query(one)
        proxy.silence()
        await queries.query(one)
      })
      await expect(lost).rejects.toMatchObject(unavailable)
      expect(performance.now() - began).toBeLessThan(3500)
    })
  })

  test('an unreachable database does not reveal its password', async () => {
    const database = open({ at: 'postgres://relay:a-password-of-the-tests@127.0.0.1:1/none' })
    const error = await database.query(sql('SELECT 1')).catch((thrown: MeshError) => thrown)
    expect(error).toBeInstanceOf(MeshError)
    const { cause } = error as MeshError
    expect(JSON.stringify([error, cause, String(cause), (cause as Error).stack])).not.toContain('a-password-of-the-tests')
  })

  test('counts its connections', async () => {
    const metrics = new Metrics('tests')
    const database = open({ metrics })
    await database.transaction(async () => {
      expect(await metrics.registry.getSingleMetricAsString('postgres_pool_connections')).toMatch(/state="used",service="tests"\} 1/)
    })
    expect(await metrics.registry.getSingleMetricAsString('postgres_pool_connections')).toMatch(/state="idle",service="tests"\} 1/)
  })
})
