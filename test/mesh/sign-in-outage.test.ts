import { beforeEach, describe, expect, test } from 'vitest'
import { newApiKey } from '#mesh/api-key.ts'
import { MeshError, meshErrors } from '#mesh/errors.ts'
import { type Stage, away, from, key, minute, stage, unknown } from './sign-in-stage.ts'

let on: Stage
beforeEach(() => {
  on = stage()
})

describe('a key that was good', () => {
  const revoke = () => on.tokens.update({ revocations: [{ keyId: 'key-of-ann', notAfterMs: Date.now() }] })

  test('and was revoked is refused at its next use, in the name of its owner', async () => {
    await on.use()
    revoke()
    on.answer = unknown
    expect(await on.use()).toMatchObject({ reason: 'KEY_REFUSED', of: { workspace: 'acme', actor: 'ann', keyId: 'key-of-ann' } })
    expect(on.signIn.caller(key, from())).toMatchObject({ reason: 'KEY_REFUSED', of: { keyId: 'key-of-ann' }, counted: false })
    expect(on.asked).toHaveLength(2)
  })

  test('and was revoked is not let in while access is away', async () => {
    await on.use()
    revoke()
    on.answer = away
    await expect(on.use()).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await expect(on.use()).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })

  test('goes on with a new token when what the old one was signed with is gone', async () => {
    await on.use()
    on.mesh.signingKeys.splice(0, 1, on.mesh.newKey())
    on.tokens.update({ signingKeys: on.mesh.signingKeys })
    expect((await on.use()).caller?.actor).toBe('ann')
    expect(on.asked).toHaveLength(2)
    expect(on.signIn.caller(key, from())).not.toBeInstanceOf(Promise)
  })

  test('and is refused when it is renewed is dropped', async () => {
    await on.use()
    on.now += 4 * minute
    on.answer = unknown
    expect((await on.use()).caller?.actor).toBe('ann')
    await on.settled()
    expect(on.signIn.caller(key, from())).toMatchObject({ reason: 'KEY_REFUSED', of: { keyId: 'key-of-ann' } })
  })
})

describe('while access is away', () => {
  test('whom we know goes on until the token ends, and then no longer', async () => {
    await on.use()
    on.answer = away
    on.now += 5 * minute - 1
    expect((await on.use()).caller?.actor).toBe('ann')
    on.now += 1
    await expect(on.use()).rejects.toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
  })

  test('a token is renewed once a second at the most, until access is back', async () => {
    await on.use()
    on.answer = away
    on.now += 4 * minute
    for (let use10 = 0; use10 < 10; use10 += 1) {
      await on.use()
      await on.settled()
    }
    expect(on.asked).toHaveLength(2)
    on.now += 1000
    on.answer = async () => on.granted()
    await on.use()
    await on.settled()
    on.now += 3 * minute
    expect((await on.use()).caller?.actor).toBe('ann')
    expect(on.asked).toHaveLength(3)
  })

  test.each([
    ['does not answer', meshErrors.DEPENDENCY_UNAVAILABLE()],
    ['takes too long', meshErrors.DEADLINE_EXCEEDED()],
    ['fails', meshErrors.INTERNAL()],
    ['breaks off', meshErrors.CANCELLED()],
    ['is something else altogether', new Error('boom')],
  ])('and %s, who is new is told so, and may try again at once', async (_what, error) => {
    on.answer = () => Promise.reject(error)
    await expect(on.use()).rejects.toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
    on.answer = async () => on.granted()
    expect((await on.use()).caller?.actor).toBe('ann')
  })

  test('its word that it is asked too often goes on', async () => {
    const limited = new MeshError('access', 'SIGN_IN_LIMITED', 'RESOURCE_EXHAUSTED', 'Too often.', { retryAfterMs: 7000 })
    on.answer = () => Promise.reject(limited)
    await expect(on.use()).rejects.toBe(limited)
  })

  test('a token that nobody believes lets nobody in, and is not kept', async () => {
    on.answer = async () => on.granted({ by: on.mesh.newKey() })
    await expect(on.use()).rejects.toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
    on.answer = async () => on.granted()
    expect((await on.use()).caller?.actor).toBe('ann')
  })

  test('strangers with made-up keys hold so many exchanges and no more', async () => {
    let release = () => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    on.answer = () => held.then(unknown)
    const strangers = Array.from({ length: 256 }, () => on.use(undefined, newApiKey('test')))
    await expect(on.use()).rejects.toMatchObject({ reason: 'OVERLOADED', retryAfterMs: 1000 })
    expect(on.asked).toHaveLength(256)
    release()
    await Promise.all(strangers)
    on.answer = async () => on.granted()
    expect((await on.use()).caller?.actor).toBe('ann')
  })
})
