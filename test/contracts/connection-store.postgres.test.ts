import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type AuditEvent, auditEvent } from '#mesh/audit/event.ts'
import { Secret } from '#mesh/config.ts'
import { Database } from '#mesh/postgres/database.ts'
import { postgresConnectionStore } from '../../services/oauth/connections/store.postgres.ts'
import type { ConnectionStore, HeldConnection, MadeConnection, SealedTokens } from '../../services/oauth/connections/store.ts'
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
  const newOne = (more: Partial<MadeConnection> = {}): MadeConnection => ({
    connectionId: randomUUID(),
    workspace: 'acme',
    actor: randomUUID(),
    provider: 'google',
    account: 'ann@example.com',
    scopes: ['mail'],
    tokens: tokensOf('the first'),
    ...more,
  })
  const added = async (more?: Partial<MadeConnection>): Promise<HeldConnection> => {
    const made = newOne(more)
    await store.upsert(made, eventOf())
    return (await store.find(made))!
  }
  const leaseMs = 60_000
  const taken = async (held: HeldConnection) => (await store.takeRefresh(held.connectionId, held.epoch, leaseMs))!.epoch
  const leaseOver = ({ connectionId }: HeldConnection) =>
    database.pool.query(`UPDATE connections SET lease_until = clock_timestamp() WHERE connection_id = $1`, [connectionId])

  test('a connection is found as it was made, and its event is told', async () => {
    const [made, event] = [newOne(), eventOf()]
    const connection = await store.upsert(made, event)
    const { tokens, ...rest } = made
    expect(connection).toMatchObject({ ...rest, status: 'connected', reason: undefined, refreshedAt: undefined })
    expect(await store.find(made)).toEqual({ ...connection, tokens, legacy: false, leasedMs: 0, restMs: 0, failures: 0 })
    expect(await told(event)).toEqual([event])
  })

  test('nobody finds or ends what is of another workspace, actor or provider', async () => {
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

  test('connecting anew takes the place of what was there; its refresh token stays for the same connection, if no other came', async () => {
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

  test('an epoch never comes twice, also not where a connection was removed and made anew', async () => {
    const first = await added()
    const epoch = await taken(first)
    const event = eventOf()
    expect(await store.disconnect('acme', first.actor, first.connectionId, event)).toMatchObject({ epoch, tokens: first.tokens })
    expect(await told(event)).toEqual([event])
    const second = await added({ ...first })
    expect(second.epoch).toBeGreaterThan(epoch)
    expect(await store.writeRefreshed(first.connectionId, epoch, tokensOf('late'))).toBeUndefined()
    expect(await store.find(first)).toEqual(second)
  })

  test('a disconnect that finds nothing tells nothing', async () => {
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
    const third = await store.takeRefresh(held.connectionId, second!.epoch, leaseMs)
    const written = await store.writeRefreshed(held.connectionId, third!.epoch, tokensOf('the second'))
    expect(await store.takeRefresh(held.connectionId, written!.epoch, leaseMs)).toBeDefined()
  })

  test('who holds the lease writes once; whoever held it before writes nothing, lets nothing go and ends nothing', async () => {
    const held = await added()
    const late = await taken(held)
    await leaseOver(held)
    const epoch = await taken((await store.find(held))!)
    const before = await store.find(held)
    const event = eventOf()
    expect(await store.writeRefreshed(held.connectionId, late, tokensOf('late'))).toBeUndefined()
    expect(await store.failRefresh(held.connectionId, late, 'GRANT_ENDED', event)).toBe(false)
    await store.releaseRefresh(held.connectionId, late, 1000)
    expect(await told(event)).toEqual([])
    expect(await store.find(held)).toEqual({ ...before, leasedMs: expect.any(Number) as number })

    const written = await store.writeRefreshed(held.connectionId, epoch, { ...tokensOf('the second'), refresh: undefined })
    const refreshed = await store.find(held)
    const tokens = { ...tokensOf('the second'), refresh: 'refresh of the first' }
    expect(refreshed).toMatchObject({ epoch: written!.epoch, leasedMs: 0, tokens })
    expect(refreshed!.refreshedAt).toBeInstanceOf(Date)
    expect(await store.writeRefreshed(held.connectionId, epoch, tokensOf('twice'))).toBeUndefined()
  })

  test('failures are counted with the time to leave the provider alone, until one goes well', async () => {
    const held = await added()
    let epoch = await taken(held)
    await store.releaseRefresh(held.connectionId, epoch, 30_000)
    const failed = (await store.find(held))!
    expect(failed).toMatchObject({ failures: 1, leasedMs: 0 })
    expect(failed.restMs).toBeGreaterThan(20_000)
    epoch = await taken(failed)
    await store.writeRefreshed(held.connectionId, epoch, tokensOf('the second'))
    expect(await store.find(held)).toMatchObject({ failures: 0, restMs: 0 })
  })

  test('one that has to be connected anew has no refresh token, and nobody refreshes it; it is told; connecting heals it', async () => {
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

  test('sealing anew changes nothing but how tokens are sealed, walks all once, and ends with nothing done where it throws', async () => {
    await database.pool.query('TRUNCATE connections')
    const all: HeldConnection[] = []
    for (let index = 0; index < 5; index += 1) all.push(await added())
    const legacy = all[2]!
    await database.pool.query('UPDATE connections SET legacy = true WHERE connection_id = $1', [legacy.connectionId])
    const held = (await store.find(legacy))!
    expect(held.legacy).toBe(true)
    const epoch = await taken(held)

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
    expect(await store.writeRefreshed(legacy.connectionId, epoch, tokensOf('the second'))).toBeDefined()

    const before = await store.find(all[1]!)
    const failing = store.rotateBatch({ limit: 10 }, (each) => {
      if (each.connectionId === seen.at(-1)) throw new Error('no')
      return tokensOf('half')
    })
    await expect(failing).rejects.toThrow('no')
    expect(await store.find(all[1]!)).toEqual(before)
  })
})
