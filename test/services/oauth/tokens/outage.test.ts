/** A provider that takes each refresh token once, two replicas, and a real Postgres that is away for longer than every lease. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Secret } from '#mesh/config.ts'
import { migrate } from '#mesh/postgres/migrate.ts'
import { type Postgres, startPostgres } from '../../../../deploy/local/postgres/server.ts'
import { ProviderError } from '../../../../services/oauth/providers/provider-error.ts'
import { redisTokenJournal } from '../../../../services/oauth/tokens/store.redis.ts'
import { type TcpProxy, tcpProxy, through } from '../../../fakes/tcp-proxy.ts'
import { until } from '../../../fixtures/mesh/until.ts'
import { sharedRedis } from '../../../setup/redis.ts'
import {
  FakeProvider,
  type CreatedConnection,
  type Replica,
  type ReplicaOptions,
  principal,
  gate,
  leaseMs,
  made,
  openReplica,
  tokenOf,
} from './replica.ts'

describe('with Postgres away for longer than a lease', () => {
  let folder: string
  let postgres: Postgres
  let proxy: TcpProxy
  let provider: FakeProvider
  /** What the provider takes, and once. */
  let good: Set<string>
  /** The answers of the provider wait for this. */
  let responses: ReturnType<typeof gate>
  const open: Replica[] = []

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'relay-oauth-outage-'))
    chmodSync(folder, 0o755)
    postgres = await startPostgres({ folder, durable: true })
    await migrate(
      new Secret(postgres.url('postgres')),
      new URL('../../../../services/oauth/migrations/', import.meta.url),
      pino({ level: 'silent' }),
    )
    proxy = await tcpProxy({ host: '127.0.0.1', port: postgres.port })
  })
  beforeEach(() => {
    provider = new FakeProvider()
    good = new Set()
    responses = gate()
    provider.answer = async (token) => {
      if (!good.delete(token)) throw new ProviderError({ kind: 'refused', code: 'invalid_grant', status: 400 })
      const refreshToken = tokenOf('refresh')
      good.add(refreshToken)
      await responses.opened
      return provider.grant({ refreshToken })
    }
  })
  afterEach(async () => {
    for (const each of open.splice(0)) await each.close()
  })
  afterAll(async () => {
    await proxy.close()
    await postgres.stop()
    rmSync(postgres.data, { recursive: true, force: true })
    rmSync(folder, { recursive: true, force: true })
  })

  const replica = (options?: ReplicaOptions, url = postgres.url('postgres')) => {
    const opened = openReplica(url, provider, options)
    open.push(opened)
    return opened
  }
  const viaProxy = () => through(proxy, postgres.url('postgres'))
  const connected = async (by: Replica): Promise<CreatedConnection> => {
    const connection = await made(by)
    good.add(connection.refreshToken)
    return connection
  }
  const asking = ({ tokens }: Replica, connection: CreatedConnection) => tokens.token(connection, principal).catch(() => undefined)
  const passed = (ms: number) => {
    const began = performance.now()
    return until('that time has passed', async () => performance.now() - began > ms, ms + 5000)
  }
  const served = (by: Replica, connection: CreatedConnection) =>
    until('it is served', async () => (await asking(by, connection)) !== undefined, 20_000)
  /** The row has what the provider takes: the connection goes on. */
  const goesOn = async (by: Replica, connection: CreatedConnection) => {
    const held = (await by.store.find(connection))!
    expect(held.status).toBe('connected')
    const token = by.vault.open({ workspace: held.workspace, connectionId: held.connectionId, kind: 'refresh' }, held.tokens.refresh!)
    expect(good.has(token)).toBe(true)
  }

  test.each([
    ['stopped', () => postgres.kill(), () => postgres.start()],
    ['silent', async () => proxy.silence(), async () => proxy.restore()],
  ] as const)(
    '%s while the provider answers, 12 of 12 connections go on, and each refresh token was shown once',
    async (_, goAway, comeBack) => {
      const [one, two] = [replica({}, viaProxy()), replica({}, viaProxy())]
      const connections = await Promise.all(Array.from({ length: 12 }, () => connected(one)))
      const under = connections.map((connection) => asking(one, connection))
      await until('all are at the provider', async () => provider.calls.length === 12)
      await goAway()
      responses.open()
      await passed(2 * leaseMs)
      const waiting = connections.map((connection) => asking(two, connection))
      await comeBack()
      await until(
        'both answer',
        async () => {
          const found = await Promise.all([one, two].map(({ store }) => store.find(connections[0]!).catch(() => undefined)))
          return found.every((each) => each !== undefined)
        },
        15_000,
      )
      // At once, and again and again.
      for (const connection of connections) await served(two, connection)
      await Promise.all([...under, ...waiting])
      for (const connection of connections) await goesOn(two, connection)
      expect(new Set(provider.calls).size).toBe(provider.calls.length)
    },
    60_000,
  )

  test('for one replica alone: the other asks with the old token and is refused, and what came late wins over that', async () => {
    const [cut, other] = [replica({}, viaProxy()), replica()]
    const connection = await connected(cut)
    const under = asking(cut, connection)
    await until('it is at the provider', async () => provider.calls.length === 1)
    proxy.silence()
    responses.open()
    await until(
      'the other gave it up',
      async () => {
        await asking(other, connection)
        return (await other.store.find(connection))?.status === 'reauth_required'
      },
      20_000,
    )
    expect(provider.calls).toEqual([connection.refreshToken, connection.refreshToken])
    proxy.restore()
    await until('it is connected again', async () => (await other.store.find(connection))?.status === 'connected', 15_000)
    await goesOn(other, connection)
    expect(await asking(other, connection)).toMatchObject({ accessToken: provider.given[0] })
    await under
    const { rows } = await other.database.pool.query('SELECT event FROM audit_outbox WHERE event LIKE $1', [`%${connection.connectionId}%`])
    expect(rows.map(({ event }) => (JSON.parse(event as string) as { action: string }).action).toSorted()).toEqual([
      'connection.made',
      'connection.reauth_required',
      'connection.recovered',
    ])
  }, 60_000)

  test('and the replica that has the new tokens never heard of again: another finds them in Redis', async () => {
    const { url, prefix } = await sharedRedis()
    const redis = new Redis(url)
    try {
      const journal = redisTokenJournal({ redis, prefix })
      const one = replica({ journal, store: (store) => ({ ...store, writeRefreshed: () => new Promise(() => undefined) }) })
      const two = replica({ journal })
      const connection = await connected(one)
      void asking(one, connection)
      responses.open()
      await until('it is in the journal', async () => (await journal.find(connection.connectionId)) !== undefined)
      const kept = JSON.stringify(await redis.mget(await redis.keys(`${prefix}*`)))
      for (const secret of provider.given) expect(kept).not.toContain(secret)
      await served(two, connection)
      expect(provider.calls).toHaveLength(1)
      await goesOn(two, connection)
      await until('the journal has forgotten it', async () => (await journal.find(connection.connectionId)) === undefined)
      // It waits for ever for what cannot come.
      open.splice(open.indexOf(one), 1)
      one.tokens.stop()
    } finally {
      redis.disconnect()
    }
  }, 60_000)
})
