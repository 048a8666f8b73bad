import { beforeEach, describe, expect, test } from 'vitest'
import { newApiKey } from '#mesh/api-key.ts'
import { meshErrors } from '#mesh/errors.ts'
import { type Stage, away, from, key, minute, stage, unknown } from './sign-in-stage.ts'

let on: Stage
beforeEach(() => {
  on = stage()
})

describe('a key that access knows', () => {
  test('is exchanged once, however many use it at the same time', async () => {
    const answers = await Promise.all(Array.from({ length: 100 }, () => on.use()))
    expect(answers.every(({ caller }) => caller?.actor === 'ann')).toBe(true)
    expect(on.asked).toHaveLength(1)
    expect(on.asked[0]!.request.apiKey).toBe(key)
  })

  test('is a caller with what its token says, whatever is said beside it', async () => {
    on.answer = async () => on.granted({ permissions: ['actions:read'] }, { workspace: 'other', permissions: ['keys:admin'] })
    for (const { caller } of [await on.use(), await on.use()]) {
      expect(caller).toMatchObject({ workspace: 'acme' })
      expect(['actions:read', 'keys:admin'].map((each) => caller!.may(each))).toEqual([true, false])
    }
  })

  test('is a caller at once from then on', async () => {
    await on.use()
    const signedIn = on.signIn.caller(key, from())
    expect(signedIn).not.toBeInstanceOf(Promise)
    expect(signedIn).toMatchObject({ caller: { workspace: 'acme', actor: 'ann', keyId: 'key-of-ann' } })
    expect(on.asked).toHaveLength(1)
  })

  test('is asked for under the request that brought it, and not ended with that request', async () => {
    const gone = new AbortController()
    const context = { ...from('192.0.2.1'), signal: gone.signal, deadline: on.now, callerToken: 'another' }
    await on.signIn.caller(key, context)
    expect(on.asked[0]!.request.source).toBe('192.0.2.1')
    expect(on.asked[0]!.context).toEqual({ requestId: context.requestId, trace: context.trace, source: '192.0.2.1' })
  })

  test('may be used from its networks alone, from the first use on, whichever way IPv4 is written', async () => {
    on.answer = async () => on.granted({}, { allowedSources: ['192.0.2.0/24', '2001:db8::/32'] })
    for (const source of ['192.0.3.7', '2001:db9::7', 'unknown', undefined]) {
      const refused = await on.use(source)
      expect(refused).toMatchObject({ reason: 'SOURCE_REFUSED', error: { code: 'PERMISSION_DENIED' }, counted: false })
      expect(refused).toMatchObject({ of: { workspace: 'acme', actor: 'ann', keyId: 'key-of-ann' } })
    }
    for (const source of ['192.0.2.7', '::ffff:192.0.2.7', '2001:db8::7']) expect((await on.use(source)).caller).toBeDefined()
  })

  test('is renewed in the background when used in its last minute: nobody waits', async () => {
    const first = (await on.use()) as { token: string }
    on.now += 4 * minute - 1
    await on.use()
    expect(on.asked).toHaveLength(1)
    on.now += 1
    const next = on.mesh.callerToken({ actor: 'ann', claims: { jti: 'second' } })
    on.answer = async () => on.granted({}, { token: next })
    expect(on.signIn.caller(key, from())).toMatchObject({ token: first.token })
    expect(on.signIn.caller(key, from())).toMatchObject({ token: first.token })
    await on.settled()
    expect(on.asked).toHaveLength(2)
    expect(on.signIn.caller(key, from())).toMatchObject({ token: next })
    on.now += 4 * minute - 1
    await on.use()
    expect(on.asked).toHaveLength(2)
  })

  test('keeps its token while the one that renews it is not believed yet', async () => {
    await on.use()
    on.now += 4 * minute
    const newer = on.mesh.newKey()
    on.answer = async () => on.granted({ by: newer })
    await on.use()
    await on.settled()
    expect(on.signIn.caller(key, from())).toMatchObject({ caller: { actor: 'ann' } })
  })

  test('that ends soon is renewed in the second half of its life, and never kept beyond five minutes', async () => {
    on.answer = async () => on.granted({}, { expiresInMs: 20_000 })
    await on.use()
    on.now += 9_999
    await on.use()
    expect(on.asked).toHaveLength(1)
    on.now += 1
    await on.use()
    expect(on.asked).toHaveLength(2)

    on.answer = async () => on.granted({}, { expiresInMs: 24 * 60 * minute })
    const other = newApiKey('test')
    await on.use(undefined, other)
    on.answer = away
    on.now += 5 * minute
    await expect(on.use(undefined, other)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })

  test('counts its life from when it was asked for, not from when the answer came', async () => {
    on.answer = async () => {
      on.now += 1500
      return on.granted({}, { expiresInMs: 2000 })
    }
    await on.use()
    on.now += 500
    on.answer = away
    await expect(on.use()).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })
})

describe('a key that is refused', () => {
  test.each([
    ['with a wrong checksum', key.slice(0, -1) + (key.endsWith('0') ? '1' : '0')],
    ['of another environment', newApiKey('prod')],
    ['that is none', 'a-key-of-another-kind'],
    ['that is empty', ''],
    ['that is a caller token', () => on.mesh.callerToken()],
  ])('%s never reaches access', async (_what, shown) => {
    const text = typeof shown === 'string' ? shown : shown()
    expect(on.signIn.caller(text, from())).toMatchObject({ reason: 'KEY_MALFORMED', error: { code: 'UNAUTHENTICATED' }, counted: false })
    expect(on.asked).toEqual([])
  })

  test('is asked for once in ten seconds', async () => {
    on.answer = unknown
    expect(await on.use()).toMatchObject({ reason: 'KEY_REFUSED', error: { code: 'UNAUTHENTICATED', message: 'no such key' } })
    on.now += 9_999
    expect(on.signIn.caller(key, from('192.0.2.9'))).toMatchObject({ reason: 'KEY_REFUSED', error: { message: 'no such key' } })
    expect(on.asked).toHaveLength(1)
    on.now += 1
    await on.use()
    expect(on.asked).toHaveLength(2)
  })

  test('is counted here only where access did not count it itself', async () => {
    on.answer = unknown
    const together = (await Promise.all([on.use(), on.use(), on.use()])) as { counted: boolean }[]
    expect(together.map(({ counted }) => counted).sort()).toEqual([false, false, true])
    expect(await on.use()).toMatchObject({ counted: false })
  })

  test('for its address is refused there alone: a thief elsewhere cannot lock its owner out', async () => {
    on.answer = async ({ source }) => {
      if (source !== '192.0.2.1') throw meshErrors.PERMISSION_DENIED({ message: 'not from there' })
      return on.granted({}, { allowedSources: ['192.0.2.1/32'] })
    }
    const [thief, owner] = await Promise.all([on.use('198.51.100.1'), on.use('192.0.2.1')])
    expect(thief).toMatchObject({ reason: 'SOURCE_REFUSED', error: { code: 'PERMISSION_DENIED' } })
    expect(owner.caller?.actor).toBe('ann')

    on.signIn.forget(key)
    expect(await on.use('198.51.100.1')).toMatchObject({ reason: 'SOURCE_REFUSED' })
    expect(on.asked).toHaveLength(2)
    expect((await on.use('192.0.2.1')).caller).toBeDefined()
  })
})

describe('what is remembered', () => {
  test('has an end: of 10,001 keys those longest unused are asked for again', async () => {
    on = stage({ verifier: undefined })
    const many = Array.from({ length: 10_001 }, () => newApiKey('test'))
    for (const each of many) await on.use(undefined, each)
    const before = on.asked.length
    await on.use(undefined, many.at(-5000))
    expect(on.asked).toHaveLength(before)
    await on.use(undefined, many[0])
    expect(on.asked).toHaveLength(before + 1)
  })
})

describe('a service with a key of its own', () => {
  beforeEach(() => {
    on = stage({ verifier: undefined, env: undefined })
  })

  test('gets a token, the same until it ends', async () => {
    const token = await on.signIn.token(key)
    expect(await on.tokens.caller(token)).toMatchObject({ actor: 'ann' })
    expect(await on.signIn.token(key)).toBe(token)
    expect(on.asked).toHaveLength(1)
  })

  test('gets another after it says that the first is believed no longer', async () => {
    await on.signIn.token(key)
    on.signIn.forget(key)
    await on.signIn.token(key)
    expect(on.asked).toHaveLength(2)
  })

  test('is told why it gets none, and the key is in no error', async () => {
    on.answer = unknown
    const refused = await on.signIn.token(key).catch((error: Error) => error)
    expect(refused).toMatchObject({ code: 'UNAUTHENTICATED' })
    expect(JSON.stringify(refused, Object.getOwnPropertyNames(refused))).not.toContain(key)
  })
})
