import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { LeasedConnection } from '../../../../services/oauth/connections/store.ts'
import { type TokenCache, cacheKey, readCached } from '../../../../services/oauth/connections/token-cache.ts'
import { redisTokenCache } from '../../../../services/oauth/tokens/store.redis.ts'
import { until } from '../../../fixtures/mesh/until.ts'
import { sharedRedis } from '../../../setup/redis.ts'

describe('sealed tokens in Redis', () => {
  let [redis, prefix]: [Redis, string] = [] as never
  let cache: TokenCache
  let failures: unknown[]
  beforeAll(async () => {
    const shared = await sharedRedis()
    ;[redis, prefix] = [new Redis(shared.url), shared.prefix]
    // Connected, so that the script is loaded before what is asked first.
    await redis.ping()
  })
  beforeEach(() => {
    failures = []
    cache = redisTokenCache({ redis, prefix, onFailure: (error) => failures.push(error) })
  })
  afterAll(() => redis.disconnect())

  const held = (more: Partial<LeasedConnection> = {}): LeasedConnection => ({
    connectionId: randomUUID(),
    workspace: 'acme',
    actor: randomUUID(),
    provider: 'google',
    account: 'ann@example.com',
    scopes: ['mail', 'calendar'],
    status: 'connected',
    epoch: 7,
    version: '1',
    unfinished: false,
    connectedAt: new Date(),
    tokens: { access: 'v1.00000000.sealed', accessExpiresAt: new Date(Date.now() + 60_000), refresh: 'v1.00000000.refresh' },
    legacy: false,
    leasedMs: 0,
    restMs: 0,
    failures: 0,
    ...more,
  })
  /** Commands of one connection are answered in their order: what was written before is there. */
  const epochOf = (connection: LeasedConnection) => redis.hget(prefix + cacheKey(connection), 'e')

  test('are found as they were put, under the key of their owner, until they expire, and without the refresh token', async () => {
    const connection = held()
    cache.put(connection)
    expect(await cache.find(connection)).toEqual({
      connectionId: connection.connectionId,
      epoch: 7,
      scopes: ['mail', 'calendar'],
      access: connection.tokens.access,
      accessExpiresAt: connection.tokens.accessExpiresAt,
    })
    const leftMs = await redis.pttl(`${prefix}oauth:token:google:acme:${connection.actor}`)
    expect(leftMs).toBeGreaterThan(50_000)
    expect(leftMs).toBeLessThanOrEqual(60_000)
    expect(JSON.stringify(await redis.hgetall(prefix + cacheKey(connection)))).not.toContain('refresh')
    const brief = held({ tokens: { access: 'v1.00000000.brief', accessExpiresAt: new Date(Date.now() + 30) } })
    cache.put(brief)
    await until('it has expired', async () => (await cache.find(brief)) === undefined)
  })

  test('are replaced by later ones alone', async () => {
    const connection = held()
    const later = { ...connection, epoch: 9, tokens: { ...connection.tokens, access: 'v1.00000000.later' } }
    cache.put(later)
    cache.put(connection)
    expect(await cache.find(connection)).toMatchObject({ epoch: 9, access: 'v1.00000000.later' })
  })

  test('that were taken back do not come back from who read them before, but later ones are taken', async () => {
    const connection = held()
    cache.put(connection)
    cache.forget(connection)
    cache.put(connection)
    cache.put({ ...connection, epoch: 6 })
    expect(await cache.find(connection)).toBeUndefined()
    expect(await epochOf(connection)).toBe('7')
    cache.put({ ...connection, epoch: 8 })
    expect(await cache.find(connection)).toMatchObject({ epoch: 8 })
    cache.forget(connection)
    expect(await cache.find(connection)).toMatchObject({ epoch: 8 })
  })

  test('that have expired, or were sealed for no place in particular, are not put there', async () => {
    const expired = held({ tokens: { access: 'v1.00000000.x', accessExpiresAt: new Date(Date.now() - 1) } })
    const legacy = held({ legacy: true })
    for (const each of [expired, legacy]) {
      cache.put(each)
      expect(await epochOf(each)).toBeNull()
    }
  })

  test('of a Redis that is away are none, and nobody hears more of it than that', async () => {
    const away = new Redis({ host: '127.0.0.1', port: 1, lazyConnect: true, enableOfflineQueue: false, retryStrategy: () => null })
    away.on('error', () => undefined)
    const none = redisTokenCache({ redis: away, onFailure: (error) => failures.push(error) })
    none.put(held())
    none.forget(held())
    expect(await none.find(held())).toBeUndefined()
    await until('all three were counted', () => failures.length === 3)
    away.disconnect()
  })

  test('nothing that somebody else wrote there is taken for one', () => {
    const text = fc.oneof(fc.string(), fc.json())
    fc.assert(
      fc.property(text, (each) => {
        expect(readCached(1, each)).toBeUndefined()
      }),
    )
    const good = { c: 'id', s: ['mail'], a: 'sealed', x: 1 }
    expect(readCached(1, JSON.stringify(good))).toBeDefined()
    for (const wrong of [{ c: 1 }, { s: 'mail' }, { s: [1] }, { a: null }, { x: '1' }, { x: 1.5 }]) {
      expect(readCached(1, JSON.stringify({ ...good, ...wrong }))).toBeUndefined()
    }
    expect(readCached(Number.NaN, JSON.stringify(good))).toBeUndefined()
  })

  test('no two owners have one key, whatever their names are', () => {
    const name = fc.string({ minLength: 1, unit: fc.constantFrom('a', ':', '%', '3', 'A', '/', 'ü') })
    const owner = fc.record({ provider: name, workspace: name, actor: name })
    fc.assert(
      fc.property(owner, owner, (one, other) => {
        expect(cacheKey(one) === cacheKey(other)).toBe(JSON.stringify(one) === JSON.stringify(other))
      }),
    )
  })
})
