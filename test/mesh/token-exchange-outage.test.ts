import { beforeEach, describe, expect, test } from 'vitest'
import { newApiKey } from '#mesh/api-key.ts'
import { MeshError, meshErrors } from '#mesh/errors.ts'
import { type Harness, away, from, key, minute, openHarness, unknown } from './token-exchange-harness.ts'

let harness: Harness
beforeEach(() => {
  harness = openHarness()
})

describe('a key that was good', () => {
  const revoke = () => harness.tokens.update({ revocations: [{ keyId: 'key-of-ann', notAfterMs: Date.now() }] })

  test('and was revoked is refused at its next use, in the name of its owner', async () => {
    await harness.use()
    revoke()
    harness.answer = unknown
    expect(await harness.use()).toMatchObject({ reason: 'KEY_REFUSED', of: { workspace: 'acme', actor: 'ann', keyId: 'key-of-ann' } })
    expect(harness.tokenSource.caller(key, from())).toMatchObject({ reason: 'KEY_REFUSED', of: { keyId: 'key-of-ann' }, counted: false })
    expect(harness.requests).toHaveLength(2)
  })

  test('and was revoked is not let in while access is away', async () => {
    await harness.use()
    revoke()
    harness.answer = away
    await expect(harness.use()).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await expect(harness.use()).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })

  test('goes on with a new token when what the old one was signed with is gone', async () => {
    await harness.use()
    harness.mesh.signingKeys.splice(0, 1, harness.mesh.newKey())
    harness.tokens.update({ signingKeys: harness.mesh.signingKeys })
    expect((await harness.use()).caller?.actor).toBe('ann')
    expect(harness.requests).toHaveLength(2)
    expect(harness.tokenSource.caller(key, from())).not.toBeInstanceOf(Promise)
  })

  test('and is refused when it is renewed is dropped', async () => {
    await harness.use()
    harness.now += 4 * minute
    harness.answer = unknown
    expect((await harness.use()).caller?.actor).toBe('ann')
    await harness.settled()
    expect(harness.tokenSource.caller(key, from())).toMatchObject({ reason: 'KEY_REFUSED', of: { keyId: 'key-of-ann' } })
  })
})

describe('while access is away', () => {
  test('whom we know goes on until the token ends, and then no longer', async () => {
    await harness.use()
    harness.answer = away
    harness.now += 5 * minute - 1
    expect((await harness.use()).caller?.actor).toBe('ann')
    harness.now += 1
    await expect(harness.use()).rejects.toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
  })

  test('a token is renewed once a second at the most, until access is back', async () => {
    await harness.use()
    harness.answer = away
    harness.now += 4 * minute
    for (let use10 = 0; use10 < 10; use10 += 1) {
      await harness.use()
      await harness.settled()
    }
    expect(harness.requests).toHaveLength(2)
    harness.now += 1000
    harness.answer = async () => harness.granted()
    await harness.use()
    await harness.settled()
    harness.now += 3 * minute
    expect((await harness.use()).caller?.actor).toBe('ann')
    expect(harness.requests).toHaveLength(3)
  })

  test.each([
    ['does not answer', meshErrors.DEPENDENCY_UNAVAILABLE()],
    ['takes too long', meshErrors.DEADLINE_EXCEEDED()],
    ['fails', meshErrors.INTERNAL()],
    ['breaks off', meshErrors.CANCELLED()],
    ['is something else altogether', new Error('boom')],
  ])('and %s, who is new is told so, and may try again at once', async (_what, error) => {
    harness.answer = () => Promise.reject(error)
    await expect(harness.use()).rejects.toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
    harness.answer = async () => harness.granted()
    expect((await harness.use()).caller?.actor).toBe('ann')
  })

  test('its word that it is asked too often goes on', async () => {
    const limited = new MeshError('access', 'SIGN_IN_LIMITED', 'RESOURCE_EXHAUSTED', 'Too often.', { retryAfterMs: 7000 })
    harness.answer = () => Promise.reject(limited)
    await expect(harness.use()).rejects.toBe(limited)
  })

  test('a token that nobody believes lets nobody in, and is not kept', async () => {
    harness.answer = async () => harness.granted({ by: harness.mesh.newKey() })
    await expect(harness.use()).rejects.toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
    harness.answer = async () => harness.granted()
    expect((await harness.use()).caller?.actor).toBe('ann')
  })

  test('strangers with made-up keys hold so many exchanges and no more', async () => {
    let release = () => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    harness.answer = () => held.then(unknown)
    const strangers = Array.from({ length: 256 }, () => harness.use(undefined, newApiKey('test')))
    await expect(harness.use()).rejects.toMatchObject({ reason: 'OVERLOADED', retryAfterMs: 1000 })
    expect(harness.requests).toHaveLength(256)
    release()
    await Promise.all(strangers)
    harness.answer = async () => harness.granted()
    expect((await harness.use()).caller?.actor).toBe('ann')
  })
})
