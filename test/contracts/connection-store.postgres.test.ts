import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type AuditEvent, auditEvent } from '#mesh/audit/event.ts'
import { Secret } from '#mesh/config.ts'
import { Database } from '#mesh/postgres/database.ts'
import { postgresConnectionStore } from '../../services/oauth/connections/store.postgres.ts'
import {
  type ConnectionStore,
  type LeasedConnection,
  type NewConnection,
  type SealedTokens,
  gapMs,
} from '../../services/oauth/connections/store.ts'
import { type FreshDatabase, freshDatabase } from '../setup/database.ts'

describe('connections in Postgres', () => {
  let fresh: FreshDatabase
  let database: Database
  let store: ConnectionStore
  beforeAll(async () => {
    fresh = await freshDatabase(new URL('../../services/oauth/migrations/', import.meta.url))
    database = new Database({ url: new Secret(fresh.url), log: pino({ level: 'silent' }) })
    store = postgresConnectionStore(database)
  })
  afterAll(async () => {
    await database.close()
    await fresh.drop()
  })

  const eventOf = (): AuditEvent => {
    const by = { workspace: 'acme', actor: 'ann', keyId: '', requestId: randomUUID(), traceId: '', source: '' }
    return auditEvent('oauth', by, { action: 'connection.made', outcome: 'success' })
  }
  const told = async (event: AuditEvent) => {
    const { rows } = await database.pool.query<{ event: string }>('SELECT event FROM audit_outbox WHERE event_id = $1', [event.eventId])
    return rows.map((row) => JSON.parse(row.event) as AuditEvent)
  }
  const tokensOf = (name: string, refresh: string | undefined = `refresh of ${name}`): SealedTokens => ({
    access: `access of ${name}`,
    accessExpiresAt: new Date('2030-01-02T03:04:05.678Z'),
    refresh,
  })
  const newOne = (more: Partial<NewConnection> = {}): NewConnection => ({
    connectionId: randomUUID(),
    workspace: 'acme',
    actor: randomUUID(),
    provider: 'google',
    account: 'ann@example.com',
    scopes: ['mail'],
    tokens: tokensOf('the first'),
    ...more,
  })
  const added = async (more?: Partial<NewConnection>): Promise<LeasedConnection> => {
    const made = newOne(more)
    await store.upsert(made, eventOf())
    return (await store.find(made))!
  }
  const leaseMs = 60_000
  const taken = async (held: LeasedConnection) => (await store.takeRefresh(held.connectionId, held.epoch, leaseMs))!.epoch
  const leaseOver = ({ connectionId }: LeasedConnection) =>
    database.pool.query(`UPDATE connections SET lease_until = clock_timestamp() WHERE connection_id = $1`, [connectionId])
  /** As if the database had been written to without a gap for so long. */
  const steadyFor = async (ms: number) => {
    await store.beat()
    await database.pool.query(`UPDATE heartbeat SET steady_since = beat_at - $1::float8 * interval '1 millisecond'`, [ms])
  }
  const written = ({ connectionId, version }: LeasedConnection, tokens: SealedTokens) =>
    store.writeRefreshed(connectionId, version, tokens, eventOf())

  test('a connection is found as it was created, and its event is written', async () => {
    const [made, event] = [newOne(), eventOf()]
    const connection = await store.upsert(made, event)
    const fresh = { version: expect.stringMatching(/^\d{16}$/) as string }
    const { tokens, ...rest } = made
    expect(connection).toMatchObject({ ...rest, status: 'connected', reason: undefined, refreshedAt: undefined })
    expect(await store.find(made)).toEqual({
      ...connection,
      tokens,
      legacy: false,
      leasedMs: 0,
      restMs: 0,
      failures: 0,
      ...fresh,
      unfinished: false,
    })
    expect(await told(event)).toEqual([event])
  })

  test('no one finds or ends a connection of another workspace, actor or provider', async () => {
    const held = await added()
    for (const other of [{ workspace: 'other' }, { actor: 'other' }, { provider: 'microsoft' }]) {
      expect(await store.find({ ...held, ...other })).toBeUndefined()
    }
    expect(await store.disconnect('other', held.actor, held.connectionId, eventOf())).toBeUndefined()
    expect(await store.disconnect('acme', 'other', held.connectionId, eventOf())).toBeUndefined()
    expect(await store.disconnect('acme', held.actor, 'no uuid', eventOf())).toBeUndefined()
    expect(await store.find(held)).toEqual(held)
  })

  test('those of an actor are listed by provider, without their tokens', async () => {
    const actor = randomUUID()
    for (const provider of ['microsoft', 'google']) await store.upsert(newOne({ actor, provider }), eventOf())
    const listed = await store.list('acme', actor)
    expect(listed.map(({ provider }) => provider)).toEqual(['google', 'microsoft'])
    expect(JSON.stringify(listed)).not.toContain('of the first')
    expect(await store.list('other', actor)).toEqual([])
  })

  test('reconnecting replaces the connection; its refresh token stays for the same connection, if no other came', async () => {
    const held = await added()
    await taken(held)
    const again = { ...held, tokens: tokensOf('the second', '') }
    await store.upsert({ ...again, tokens: { ...again.tokens, refresh: undefined } }, eventOf())
    const tokens = { access: 'access of the second', refresh: 'refresh of the first' }
    expect(await store.find(held)).toMatchObject({ leasedMs: 0, tokens })
    const connectionId = randomUUID()
    await store.upsert({ ...held, connectionId, tokens: { ...tokensOf('the third'), refresh: undefined } }, eventOf())
    const third = (await store.find(held))!
    expect(third).toMatchObject({ connectionId, tokens: { access: 'access of the third', refresh: undefined } })
    expect(third.epoch).toBeGreaterThan(held.epoch)
    expect(await store.list('acme', held.actor)).toHaveLength(1)
  })

  test('an epoch never occurs twice, even if a connection was removed and created again', async () => {
    const first = await added()
    const epoch = await taken(first)
    const event = eventOf()
    expect(await store.disconnect('acme', first.actor, first.connectionId, event)).toMatchObject({ epoch, tokens: first.tokens })
    expect(await told(event)).toEqual([event])
    const second = await added({ ...first })
    expect(second.epoch).toBeGreaterThan(epoch)
    expect(await written(first, tokensOf('late'))).toBeUndefined()
    expect(await store.find(first)).toEqual(second)
  })

  test('a disconnect that finds nothing writes no event', async () => {
    const event = eventOf()
    expect(await store.disconnect('acme', 'ann', randomUUID(), event)).toBeUndefined()
    expect(await told(event)).toEqual([])
  })

  test('of 50 who want to refresh one does, and the next when that one has written, let go, or run out of time', async () => {
    const held = await added()
    const tries = await Promise.all(Array.from({ length: 50 }, () => store.takeRefresh(held.connectionId, held.epoch, leaseMs)))
    const [lease, ...more] = tries.filter((each) => each !== undefined)
    expect(more).toEqual([])
    const now = (await store.find(held))!
    expect(now.epoch).toBe(lease!.epoch)
    expect(now.leasedMs).toBeGreaterThan(leaseMs - 10_000)
    expect(await store.takeRefresh(held.connectionId, now.epoch, leaseMs)).toBeUndefined()

    await store.releaseRefresh(held.connectionId, now.epoch)
    const second = await store.takeRefresh(held.connectionId, now.epoch, leaseMs)
    await leaseOver(held)
    await steadyFor(leaseMs + 1000)
    expect(await store.find(held)).toMatchObject({ leasedMs: 0, unfinished: true })
    expect(await store.takeRefresh(held.connectionId, second!.epoch, leaseMs)).toBeDefined()
    const next = await written(held, tokensOf('the second'))
    expect(await store.takeRefresh(held.connectionId, next!.epoch, leaseMs)).toBeDefined()
  })

  test('a lease that ran out is taken over only once the database was written to for a whole lease without a gap', async () => {
    const held = await added()
    const epoch = await taken(held)
    await leaseOver(held)
    const tries = () => store.takeRefresh(held.connectionId, epoch, leaseMs)
    await database.pool.query('DELETE FROM heartbeat')
    expect(await tries()).toBeUndefined()
    expect(await store.beat()).toEqual({ afterGap: true })
    expect(await tries()).toBeUndefined()
    await steadyFor(leaseMs - 1000)
    expect(await tries()).toBeUndefined()
    await steadyFor(leaseMs + 1000)
    await database.pool.query(`UPDATE heartbeat SET beat_at = beat_at - $1::float8 * interval '1 millisecond'`, [gapMs + 1])
    expect(await tries()).toBeUndefined()
    // The gap ends what was known before it.
    expect(await store.beat()).toEqual({ afterGap: true })
    expect(await tries()).toBeUndefined()
    await steadyFor(leaseMs + 1000)
    expect(await store.beat()).toEqual({ afterGap: false })
    expect(await tries()).toBeDefined()
  })

  test('who held the lease before concludes nothing and lets nothing go; but what they were given for the tokens that stand is written, once', async () => {
    const held = await added()
    const late = await taken(held)
    await leaseOver(held)
    await steadyFor(leaseMs + 1000)
    await taken((await store.find(held))!)
    const before = await store.find(held)
    const event = eventOf()
    expect(await store.failRefresh(held.connectionId, late, 'GRANT_ENDED', event)).toBe(false)
    await store.releaseRefresh(held.connectionId, late, 1000)
    expect(await told(event)).toEqual([])
    expect(await store.find(held)).toEqual({ ...before, leasedMs: expect.any(Number) as number })

    const next = await written(held, { ...tokensOf('the second'), refresh: undefined })
    const refreshed = (await store.find(held))!
    const tokens = { ...tokensOf('the second'), refresh: 'refresh of the first' }
    expect(refreshed).toMatchObject({ epoch: next!.epoch, version: next!.version, leasedMs: 0, unfinished: false, tokens })
    expect(next).toMatchObject({ recovered: false })
    expect(refreshed.refreshedAt).toBeInstanceOf(Date)
    // Whoever has the lease now was given something for the same tokens: too late.
    expect(await written(held, tokensOf('twice'))).toBeUndefined()
    expect(await store.find(held)).toEqual(refreshed)
  })

  test('of many who were given tokens for the same ones, one writes', async () => {
    const held = await added()
    const all = await Promise.all(Array.from({ length: 30 }, (_, index) => written(held, tokensOf(`number ${index}`))))
    expect(all.filter((each) => each !== undefined)).toHaveLength(1)
  })

  test('a new refresh token reverses that the account must be reconnected, with an event; an access token alone does not', async () => {
    const held = await added()
    await store.failRefresh(held.connectionId, await taken(held), 'GRANT_ENDED', eventOf())
    expect(await written(held, { ...tokensOf('the second'), refresh: undefined })).toBeUndefined()
    const event = eventOf()
    expect(await store.writeRefreshed(held.connectionId, held.version, tokensOf('the second'), event)).toMatchObject({ recovered: true })
    expect(await store.find(held)).toMatchObject({ status: 'connected', reason: undefined, tokens: tokensOf('the second') })
    expect(await told(event)).toEqual([event])
    // Connected anew since: what came late is of tokens that nobody has any more.
    await store.upsert({ ...held, tokens: tokensOf('the third') }, eventOf())
    expect(await written(held, tokensOf('late'))).toBeUndefined()
    expect(await store.find(held)).toMatchObject({ tokens: tokensOf('the third') })
  })

  test('failures are counted with the time to leave the provider alone, until one goes well', async () => {
    const held = await added()
    const epoch = await taken(held)
    await store.releaseRefresh(held.connectionId, epoch, 30_000)
    const failed = (await store.find(held))!
    expect(failed).toMatchObject({ failures: 1, leasedMs: 0 })
    expect(failed.restMs).toBeGreaterThan(20_000)
    await taken(failed)
    await written(held, tokensOf('the second'))
    expect(await store.find(held)).toMatchObject({ failures: 0, restMs: 0 })
  })

  test('a connection that must be reconnected has no refresh token and is not refreshed; the event says so; reconnecting repairs it', async () => {
    const held = await added()
    const [epoch, event] = [await taken(held), eventOf()]
    expect(await store.failRefresh(held.connectionId, epoch, 'GRANT_ENDED', event)).toBe(true)
    expect(await told(event)).toEqual([event])
    const ended = (await store.find(held))!
    expect(ended).toMatchObject({ status: 'reauth_required', reason: 'GRANT_ENDED', tokens: { refresh: undefined } })
    expect(await store.takeRefresh(held.connectionId, ended.epoch, leaseMs)).toBeUndefined()
    await store.upsert({ ...held, tokens: tokensOf('the second') }, eventOf())
    expect(await store.find(held)).toMatchObject({ status: 'connected', reason: undefined, tokens: tokensOf('the second') })
  })

  test('an access token that was refused has expired, if it is still that one', async () => {
    const held = await added()
    expect(await store.expireAccess(held.connectionId, 'another')).toBe(false)
    expect(await store.find(held)).toEqual(held)
    expect(await store.expireAccess(held.connectionId, held.tokens.access)).toBe(true)
    expect((await store.find(held))!.tokens.accessExpiresAt.getTime()).toBeLessThanOrEqual(Date.now() + 1000)
  })

  test('re-encryption changes only how tokens are encrypted, visits each once, and leaves everything unchanged if it throws', async () => {
    await database.pool.query('TRUNCATE connections')
    const all: LeasedConnection[] = []
    for (let index = 0; index < 5; index += 1) all.push(await added())
    const legacy = all[2]!
    await database.pool.query('UPDATE connections SET legacy = true WHERE connection_id = $1', [legacy.connectionId])
    const held = (await store.find(legacy))!
    expect(held.legacy).toBe(true)
    await taken(held)

    const seen: string[] = []
    let after: string | undefined
    const sizes: number[] = []
    do {
      const batch = await store.rotateBatch({ after, limit: 2 }, (each) => {
        seen.push(each.connectionId)
        if (each.connectionId === all[0]!.connectionId) return undefined
        return { ...each.tokens, access: `${each.tokens.access}, anew`, refresh: `${each.tokens.refresh}, anew` }
      })
      sizes.push(batch.seen)
      after = batch.last
    } while (after !== undefined)
    expect(seen).toEqual(all.map(({ connectionId }) => connectionId).toSorted())
    expect(sizes).toEqual([2, 2, 1, 0])
    expect(await store.find(all[0]!)).toEqual(all[0])
    const tokens = { access: 'access of the first, anew', refresh: 'refresh of the first, anew' }
    expect(await store.find(legacy)).toMatchObject({ legacy: false, tokens })
    // Whoever refreshes meanwhile goes on.
    expect(await written(legacy, tokensOf('the second'))).toBeDefined()

    const before = await store.find(all[1]!)
    const failing = store.rotateBatch({ limit: 10 }, (each) => {
      if (each.connectionId === seen.at(-1)) throw new Error('no')
      return tokensOf('half')
    })
    await expect(failing).rejects.toThrow('no')
    expect(await store.find(all[1]!)).toEqual(before)
  })
})
