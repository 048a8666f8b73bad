import { beforeEach, describe, expect, test } from 'vitest'
import { newApiKey } from '#mesh/api-key.ts'
import { meshErrors } from '#mesh/errors.ts'
import { type Harness, away, from, key, minute, openHarness, unknown } from './token-exchange-harness.ts'

let harness: Harness
beforeEach(() => {
  harness = openHarness()
})

describe('a key that access knows', () => {
  test('is exchanged once, however many use it at the same time', async () => {
    const responses = await Promise.all(Array.from({ length: 100 }, () => harness.use()))
    expect(responses.every(({ caller }) => caller?.actor === 'ann')).toBe(true)
    expect(harness.requests).toHaveLength(1)
    expect(harness.requests[0]!.request.apiKey).toBe(key)
  })

  test('is a caller with what its token says, whatever is said beside it', async () => {
    harness.answer = async () => harness.granted({ permissions: ['actions:read'] }, { workspace: 'other', permissions: ['keys:admin'] })
    for (const { caller } of [await harness.use(), await harness.use()]) {
      expect(caller).toMatchObject({ workspace: 'acme' })
      expect(['actions:read', 'keys:admin'].map((each) => caller!.may(each))).toEqual([true, false])
    }
  })

  test('is a caller at once from then on', async () => {
    await harness.use()
    const signedIn = harness.tokenSource.caller(key, from())
    expect(signedIn).not.toBeInstanceOf(Promise)
    expect(signedIn).toMatchObject({ caller: { workspace: 'acme', actor: 'ann', keyId: 'key-of-ann' } })
    expect(harness.requests).toHaveLength(1)
  })

  test('is asked for under the request that brought it, and not ended with that request', async () => {
    const gone = new AbortController()
    const context = { ...from('192.0.2.1'), signal: gone.signal, deadline: harness.now, callerToken: 'another' }
    await harness.tokenSource.caller(key, context)
    expect(harness.requests[0]!.request.source).toBe('192.0.2.1')
    expect(harness.requests[0]!.context).toEqual({ requestId: context.requestId, trace: context.trace, source: '192.0.2.1' })
  })

  test('may be used from its networks alone, from the first use on, whichever way IPv4 is written', async () => {
    harness.answer = async () => harness.granted({}, { allowedSources: ['192.0.2.0/24', '2001:db8::/32'] })
    for (const source of ['192.0.3.7', '2001:db9::7', 'unknown', undefined]) {
      const refused = await harness.use(source)
      expect(refused).toMatchObject({ reason: 'SOURCE_REFUSED', error: { code: 'PERMISSION_DENIED' }, counted: false })
      expect(refused).toMatchObject({ of: { workspace: 'acme', actor: 'ann', keyId: 'key-of-ann' } })
    }
    for (const source of ['192.0.2.7', '::ffff:192.0.2.7', '2001:db8::7']) expect((await harness.use(source)).caller).toBeDefined()
  })

  test('is renewed in the background when used in its last minute: nobody waits', async () => {
    const first = (await harness.use()) as { token: string }
    harness.now += 4 * minute - 1
    await harness.use()
    expect(harness.requests).toHaveLength(1)
    harness.now += 1
    const next = harness.mesh.callerToken({ actor: 'ann', claims: { jti: 'second' } })
    harness.answer = async () => harness.granted({}, { token: next })
    expect(harness.tokenSource.caller(key, from())).toMatchObject({ token: first.token })
    expect(harness.tokenSource.caller(key, from())).toMatchObject({ token: first.token })
    await harness.settled()
    expect(harness.requests).toHaveLength(2)
    expect(harness.tokenSource.caller(key, from())).toMatchObject({ token: next })
    harness.now += 4 * minute - 1
    await harness.use()
    expect(harness.requests).toHaveLength(2)
  })

  test('keeps its token while the one that renews it is not believed yet', async () => {
    await harness.use()
    harness.now += 4 * minute
    const newer = harness.mesh.newKey()
    harness.answer = async () => harness.granted({ by: newer })
    await harness.use()
    await harness.settled()
    expect(harness.tokenSource.caller(key, from())).toMatchObject({ caller: { actor: 'ann' } })
  })

  test('that ends soon is renewed in the second half of its life, and never kept beyond five minutes', async () => {
    harness.answer = async () => harness.granted({}, { expiresInMs: 20_000 })
    await harness.use()
    harness.now += 9_999
    await harness.use()
    expect(harness.requests).toHaveLength(1)
    harness.now += 1
    await harness.use()
    expect(harness.requests).toHaveLength(2)

    harness.answer = async () => harness.granted({}, { expiresInMs: 24 * 60 * minute })
    const other = newApiKey('test')
    await harness.use(undefined, other)
    harness.answer = away
    harness.now += 5 * minute
    await expect(harness.use(undefined, other)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })

  test('counts its life from when it was asked for, not from when the answer came', async () => {
    harness.answer = async () => {
      harness.now += 1500
      return harness.granted({}, { expiresInMs: 2000 })
    }
    await harness.use()
    harness.now += 500
    harness.answer = away
    await expect(harness.use()).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })
})

describe('a key that is refused', () => {
  test.each([
    ['with a wrong checksum', key.slice(0, -1) + (key.endsWith('0') ? '1' : '0')],
    ['of another environment', newApiKey('prod')],
    ['that is none', 'a-key-of-another-kind'],
    ['that is empty', ''],
    ['that is a caller token', () => harness.mesh.callerToken()],
  ])('%s never reaches access', async (_what, shown) => {
    const text = typeof shown === 'string' ? shown : shown()
    expect(harness.tokenSource.caller(text, from())).toMatchObject({
      reason: 'KEY_MALFORMED',
      error: { code: 'UNAUTHENTICATED' },
      counted: false,
    })
    expect(harness.requests).toEqual([])
  })

  test('is asked for once in ten seconds', async () => {
    harness.answer = unknown
    expect(await harness.use()).toMatchObject({ reason: 'KEY_REFUSED', error: { code: 'UNAUTHENTICATED', message: 'no such key' } })
    harness.now += 9_999
    expect(harness.tokenSource.caller(key, from('192.0.2.9'))).toMatchObject({ reason: 'KEY_REFUSED', error: { message: 'no such key' } })
    expect(harness.requests).toHaveLength(1)
    harness.now += 1
    await harness.use()
    expect(harness.requests).toHaveLength(2)
  })

  test('is counted here only where access did not count it itself', async () => {
    harness.answer = unknown
    const together = (await Promise.all([harness.use(), harness.use(), harness.use()])) as { counted: boolean }[]
    expect(together.map(({ counted }) => counted).sort()).toEqual([false, false, true])
    expect(await harness.use()).toMatchObject({ counted: false })
  })

  test('for its address is refused there alone: a thief elsewhere cannot lock its owner out', async () => {
    harness.answer = async ({ source }) => {
      if (source !== '192.0.2.1') throw meshErrors.PERMISSION_DENIED({ message: 'not from there' })
      return harness.granted({}, { allowedSources: ['192.0.2.1/32'] })
    }
    const [thief, owner] = await Promise.all([harness.use('198.51.100.1'), harness.use('192.0.2.1')])
    expect(thief).toMatchObject({ reason: 'SOURCE_REFUSED', error: { code: 'PERMISSION_DENIED' } })
    expect(owner.caller?.actor).toBe('ann')

    harness.tokenSource.forget(key)
    expect(await harness.use('198.51.100.1')).toMatchObject({ reason: 'SOURCE_REFUSED' })
    expect(harness.requests).toHaveLength(2)
    expect((await harness.use('192.0.2.1')).caller).toBeDefined()
  })
})

describe('what is remembered', () => {
  test('has an end: of 10,001 keys those longest unused are asked for again', async () => {
    harness = openHarness({ verifier: undefined })
    const many = Array.from({ length: 10_001 }, () => newApiKey('test'))
    for (const each of many) await harness.use(undefined, each)
    const before = harness.requests.length
    await harness.use(undefined, many.at(-5000))
    expect(harness.requests).toHaveLength(before)
    await harness.use(undefined, many[0])
    expect(harness.requests).toHaveLength(before + 1)
  })
})

describe('a service with a key of its own', () => {
  beforeEach(() => {
    harness = openHarness({ verifier: undefined, env: undefined })
  })

  test('gets a token, the same until it ends', async () => {
    const token = await harness.tokenSource.token(key)
    expect(await harness.tokens.caller(token)).toMatchObject({ actor: 'ann' })
    expect(await harness.tokenSource.token(key)).toBe(token)
    expect(harness.requests).toHaveLength(1)
  })

  test('gets another after it says that the first is believed no longer', async () => {
    await harness.tokenSource.token(key)
    harness.tokenSource.forget(key)
    await harness.tokenSource.token(key)
    expect(harness.requests).toHaveLength(2)
  })

  test('is told why it gets none, and the key is in no error', async () => {
    harness.answer = unknown
    const refused = await harness.tokenSource.token(key).catch((error: Error) => error)
    expect(refused).toMatchObject({ code: 'UNAUTHENTICATED' })
    expect(JSON.stringify(refused, Object.getOwnPropertyNames(refused))).not.toContain(key)
  })
})
