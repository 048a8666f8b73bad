import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Secret } from '#mesh/config.ts'
import { Database } from '#mesh/postgres/database.ts'
import { KeyDecryptionError, Sealer } from '../../../../services/access/tokens/key-pair.ts'
import { KeyRing } from '../../../../services/access/tokens/key-ring.ts'
import { signingKeyStore } from '../../../../services/access/tokens/store.postgres.ts'
import type { SigningKeyStore } from '../../../../services/access/tokens/store.ts'
import { until } from '../../../fixtures/mesh/until.ts'
import { type FreshDatabase, freshDatabase } from '../../../setup/database.ts'

const migrations = new URL('../../../../services/access/migrations/', import.meta.url)
const log = pino({ level: 'silent' })
const lifetimeMs = 3_600_000

describe('the signing keys of several replicas on one Postgres', () => {
  let fresh: FreshDatabase
  let database: Database
  let store: SigningKeyStore
  beforeAll(async () => {
    fresh = await freshDatabase(migrations)
    database = new Database({ url: new Secret(fresh.url), log })
    store = signingKeyStore(database)
  })
  afterAll(async () => {
    await database.close()
    await fresh.drop()
  })
  beforeEach(async () => {
    await database.query({ name: '', text: 'DELETE FROM signing_keys' })
  })

  const sealer = new Sealer('a secret of these tests')
  const ring = (more: { store?: SigningKeyStore; sealer?: Sealer; now?: () => number } = {}) =>
    new KeyRing({ store, sealer, lifetimeMs, ...more })
  const age = (byMs: number) =>
    database.query(
      {
        name: '',
        text: `UPDATE signing_keys SET published_at = published_at - $1::float8 * interval '1 millisecond',
                 signs_from = signs_from - $1::float8 * interval '1 millisecond'`,
      },
      [byMs],
    )
  const stored = async () => (await store.read()).keys

  test('of ten that start together on an empty database all sign with the one first key, at once', async () => {
    const rings = Array.from({ length: 10 }, () => ring())
    await Promise.all(rings.map((each) => each.begin()))
    const signers = await Promise.all(rings.map((each) => each.signer()))
    expect(new Set(signers.map(({ kid }) => kid)).size).toBe(1)
    expect(await stored()).toHaveLength(1)
  })

  test('of ten that find the key due together exactly one successor comes, published before it signs', async () => {
    await ring().begin()
    const old = (await stored())[0]!.kid
    await age(lifetimeMs)
    const rings = Array.from({ length: 10 }, () => ring())
    await Promise.all(rings.map((each) => each.begin()))
    expect(await stored()).toHaveLength(2)
    for (const each of rings) {
      expect((await each.signer()).kid).toBe(old)
      expect(await each.published()).toHaveLength(2)
    }
    await age(10_000)
    expect((await ring().signer()).kid).not.toBe(old)
  })

  test('a key that was made elsewhere is taken up, and the one before goes once its last token has', async () => {
    const running = ring()
    await running.begin()
    const old = (await stored())[0]!.kid
    const { kid, signsFrom } = await ring().rotate()
    expect(signsFrom.getTime()).toBeGreaterThan(Date.now() + 5000)
    const loop = running.loop(20, log)
    loop.start()
    const published = async () => (await running.published()).map((each) => each.kid)
    await until('it is published', async () => (await published()).includes(kid))
    expect((await running.signer()).kid).toBe(old)
    await age(10_000)
    await until('it signs', async () => (await running.signer()).kid === kid)
    expect(await published()).toContain(old)
    await age(6 * 60_000)
    await until('the old one is gone from the database too', async () => (await stored()).length === 1)
    expect(await published()).toEqual([kid])
    await loop.stop()
  })

  test('with another secret it does not begin, and changes nothing, however due a successor is', async () => {
    await ring().begin()
    await age(2 * lifetimeMs)
    await expect(ring({ sealer: new Sealer('another secret') }).begin()).rejects.toThrow(KeyDecryptionError)
    expect(await stored()).toHaveLength(1)
  })

  test('a key that was made with another secret is published, and left to sign for those who can', async () => {
    const each = ring()
    await each.begin()
    const { kid } = await ring({ sealer: new Sealer('another secret') }).rotate()
    await age(10_000)
    await expect(ring().signer()).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(await ring().published()).toContainEqual(expect.objectContaining({ kid }))
    expect((await ring({ sealer: new Sealer('another secret') }).signer()).kid).toBe(kid)
  })

  test('what was read too long ago is never signed on: it is read again, and where that fails nothing is signed', async () => {
    let away = false
    let clock = 0
    const shaky: SigningKeyStore = { ...store, read: () => (away ? Promise.reject(new Error('away')) : store.read()) }
    const each = ring({ store: shaky, now: () => clock })
    await each.begin()
    away = true
    clock = 4_999
    await expect(each.signer()).resolves.toBeDefined()
    clock = 10_000
    await expect(each.signer()).rejects.toThrow('away')
    await expect(each.published()).rejects.toThrow('away')
    away = false
    await expect(each.signer()).resolves.toBeDefined()
  })

  test('an answer that took longer than a new key waits is not signed on', async () => {
    let clock = 0
    const slow: SigningKeyStore = {
      ...store,
      async read() {
        const read = await store.read()
        clock += 10_000
        return read
      },
    }
    await ring().begin()
    await expect(ring({ store: slow, now: () => clock }).signer()).rejects.toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
  })

  test('many who need the keys at the same time cost one reading', async () => {
    await ring().begin()
    let reads = 0
    const counting: SigningKeyStore = {
      ...store,
      read() {
        reads += 1
        return store.read()
      },
    }
    const each = ring({ store: counting })
    await Promise.all(Array.from({ length: 50 }, () => each.signer()))
    expect(reads).toBe(1)
  })

  test('the database holds no private half in the open', async () => {
    await ring().begin()
    const { privateKey } = await ring().signer()
    const seed = Buffer.from(privateKey.export({ format: 'jwk' }).d!, 'base64url')
    for (const { sealed } of await stored()) expect(sealed.includes(seed)).toBe(false)
  })
})
