import { describe, expect, test } from 'vitest'
import { newApiKey } from '#mesh/api-key.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import { CallerTokens } from '#mesh/identity/caller-tokens.ts'
import type { FoundKey } from '../../../../services/access/keys/store.ts'
import { failureOf } from '../../../fixtures/mesh/server.ts'
import { type Harness, openHarness } from './harness.ts'

const from = (source: string | undefined) => ({ ...ownContext(), source })
const notValid = {
  code: 'UNAUTHENTICATED',
  reason: 'UNAUTHENTICATED',
  message: 'This API key is not valid. Check its spelling, or use a key that has not expired or been revoked.',
}
const notFromThere = {
  code: 'PERMISSION_DENIED',
  reason: 'PERMISSION_DENIED',
  message: 'This API key may not be used from this address. Use one of its allowed_sources.',
}

interface Case {
  keyOf: (at: Harness) => string
  source?: string | undefined
  reason: string
  says: object
  /** How often the store is asked. */
  asked: number
}

const elsewhere = { reason: 'SOURCE_REFUSED', says: notFromThere, asked: 1 }
const unseen = { reason: 'KEY_MALFORMED', says: notValid, asked: 0 }
const refused: Record<string, Case> = {
  'no key at all': { keyOf: () => '', ...unseen },
  'a wrong checksum': { keyOf: (at) => mistyped(at.add()), ...unseen },
  'a key of another environment': { keyOf: () => newApiKey('prod'), ...unseen },
  'a caller token': { keyOf: () => 'eyJhbGciOiJFZERTQSJ9.e30.AAAA', ...unseen },
  'a key that never was': { keyOf: () => newApiKey('test'), reason: 'KEY_UNKNOWN', says: notValid, asked: 1 },
  'a revoked key': { keyOf: (at) => at.add({ status: 'revoked' }), reason: 'KEY_REVOKED', says: notValid, asked: 1 },
  'an expired key': { keyOf: (at) => at.add({ status: 'expired' }), reason: 'KEY_EXPIRED', says: notValid, asked: 1 },
  'a revoked key from a wrong address, of which nothing is told': {
    keyOf: (at) => at.add({ status: 'revoked', allowedSources: ['10.0.0.0/8'] }),
    reason: 'KEY_REVOKED',
    says: notValid,
    asked: 1,
  },
  'a wrong address': { keyOf: (at) => at.add({ allowedSources: ['10.0.0.0/8'] }), ...elsewhere },
  'an address of the other family': { keyOf: (at) => at.add({ allowedSources: ['::/0'] }), ...elsewhere },
  'an unknown address': { keyOf: (at) => at.add({ allowedSources: ['0.0.0.0/0', '::/0'] }), source: undefined, ...elsewhere },
}

const mistyped = (apiKey: string): string => apiKey.slice(0, -1) + (apiKey.endsWith('x') ? 'y' : 'x')

describe('the exchange of a key', () => {
  test.each(Object.entries(refused))('refuses %s; why is for the logs and the audit log alone', async (_, each) => {
    const { keyOf, source, reason, says, asked } = { source: '192.0.2.1', ...each }
    const at = openHarness()
    const apiKey = keyOf(at)
    const error = await failureOf(at.exchange(apiKey, from(source)))
    expect({ code: error.code, reason: error.reason, message: error.message, metadata: error.metadata }).toEqual({ ...says, metadata: {} })
    expect(at.asked()).toBe(asked)
    expect(at.denials).toEqual([expect.objectContaining({ action: 'sign_in.refused', reason, source: source ?? '' })])
    expect(at.lines).toEqual([expect.objectContaining({ msg: 'sign-in rejected', reason })])
    expect(at.used).toEqual([])
    if (apiKey !== '') expect(JSON.stringify([at.lines, at.denials])).not.toContain(apiKey)
  })

  test('says whose key it refused, where it has an owner, and nobody where it has none', async () => {
    const at = openHarness()
    await failureOf(at.exchange(at.add({ status: 'revoked', keyId: 'k1' }), from('192.0.2.1')))
    await failureOf(at.exchange(newApiKey('test'), from('192.0.2.1')))
    expect(at.denials).toEqual([
      expect.objectContaining({ workspace: 'acme', actor: 'ann', keyId: 'k1' }),
      expect.objectContaining({ workspace: '', actor: '', keyId: '' }),
    ])
  })

  test.each([
    ['anywhere', [], undefined],
    ['within a network', ['10.0.0.0/8'], '10.200.3.4'],
    ['at the one address', ['192.0.2.7/32'], '192.0.2.7'],
    ['within an IPv6 network', ['2001:db8::/32'], '2001:db8:1::5'],
    ['in the second of two networks', ['10.0.0.0/8', '192.0.2.0/24'], '192.0.2.255'],
  ])('takes a key that may be used %s from there', async (_, allowedSources, source) => {
    const at = openHarness()
    await expect(at.exchange(at.add({ allowedSources }), from(source))).resolves.toMatchObject({ key: { workspace: 'acme' } })
  })

  test('gives a token that a service of the mesh believes, with what the key may do and nothing else', async () => {
    const at = openHarness()
    const apiKey = at.add({ keyId: 'k1', permissions: ['actions:read'] })
    const { token, expiresInMs } = await at.exchange(apiKey, from('192.0.2.1'))
    const tokens = new CallerTokens()
    tokens.update({ signingKeys: [at.signer] })
    const caller = (await tokens.caller(token))!
    expect(caller).toMatchObject({ workspace: 'acme', actor: 'ann', keyId: 'k1' })
    expect(caller.may('actions:read')).toBe(true)
    expect(caller.may('actions:execute')).toBe(false)
    expect(expiresInMs).toBeGreaterThan(298_000)
    expect(expiresInMs).toBeLessThanOrEqual(300_000)
    expect(at.used).toEqual(['k1'])
    expect(at.denials).toEqual([])
  })

  test.each([
    ['as long as configured', 60_000, {}, 60_000],
    ['five minutes at the most', 3_600_000, {}, 300_000],
    ['no longer than its key', 300_000, { expiresInMs: 20_500 }, 20_000],
  ] satisfies [string, number, Partial<FoundKey>, number][])('gives a token that lives %s', async (_, ttlMs, key, lives) => {
    const now = 1_700_000_000_000
    const at = openHarness({ ttlMs, now: () => now })
    const { token, expiresAt, expiresInMs } = await at.exchange(at.add(key), from('192.0.2.1'))
    const { iat, exp } = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as { iat: number; exp: number }
    expect({ iat, exp }).toEqual({ iat: now / 1000, exp: (now + lives) / 1000 })
    expect(expiresAt).toEqual(new Date(now + lives))
    expect(expiresInMs).toBe(lives)
  })

  test.each([
    ['when the key expires', { expiresInMs: 3_600_500 }, 1_700_003_600_000],
    ['of no end where the key has none', {}, undefined],
  ] satisfies [string, Partial<FoundKey>, number | undefined][])('gives a token that says %s', async (_, key, keyExpiresAtMs) => {
    const now = 1_700_000_000_000
    const at = openHarness({ now: () => now })
    const { token } = await at.exchange(at.add(key), from('192.0.2.1'))
    const tokens = new CallerTokens({ now: () => now })
    tokens.update({ signingKeys: [at.signer] })
    expect((await tokens.caller(token))!.keyExpiresAtMs).toBe(keyExpiresAtMs)
  })

  test('lets any number of good keys in from one address, and counts none of them', async () => {
    const at = openHarness({ perMinute: 3 })
    const keys = Array.from({ length: 135 }, () => at.add())
    const exchanged = await Promise.all(keys.map((apiKey) => at.exchange(apiKey, from('192.0.2.1'))))
    expect(exchanged).toHaveLength(135)
    for (let count = 0; count < 3; count += 1) await failureOf(at.exchange(newApiKey('test'), from('192.0.2.1')))
    expect(await failureOf(at.exchange(keys[0]!, from('192.0.2.1')))).toMatchObject({ reason: 'SIGN_IN_LIMITED' })
  })

  test('counts failures of an IPv6 network together, whichever of its addresses they come from', async () => {
    const at = openHarness({ perMinute: 3 })
    for (let host = 1; host <= 3; host += 1) await failureOf(at.exchange(newApiKey('test'), from(`2001:db8:1:2::${host}`)))
    expect(await failureOf(at.exchange(at.add(), from('2001:db8:1:2::ffff')))).toMatchObject({ reason: 'SIGN_IN_LIMITED' })
    await expect(at.exchange(at.add(), from('2001:db8:1:3::1'))).resolves.toBeDefined()
  })

  test('counts every key that fails from an address, and beyond the limit looks at none and says when to go on', async () => {
    const at = openHarness({ perMinute: 3 })
    const good = at.add()
    await at.exchange(good, from('192.0.2.1'))
    await failureOf(at.exchange(at.add({ allowedSources: ['10.0.0.0/8'] }), from('192.0.2.1')))
    await failureOf(at.exchange('nonsense', from('192.0.2.1')))
    await failureOf(at.exchange(newApiKey('test'), from('192.0.2.1')))
    const asked = at.asked()
    const error = await failureOf(at.exchange(good, from('192.0.2.1')))
    expect(error).toMatchObject({ domain: 'access', reason: 'SIGN_IN_LIMITED', code: 'RESOURCE_EXHAUSTED' })
    expect(error.retryAfterMs).toBeGreaterThan(0)
    expect(at.asked()).toBe(asked)
    await expect(at.exchange(good, from('192.0.2.2'))).resolves.toBeDefined()
    expect(at.denials.at(-1)).toMatchObject({ reason: 'SIGN_IN_LIMITED', source: '192.0.2.1' })
  })

  test('is no verdict on the key where the store is away', async () => {
    const at = openHarness({ find: () => Promise.reject(Object.assign(new Error('away'), { reason: 'DEPENDENCY_UNAVAILABLE' })) })
    expect(await failureOf(at.exchange(newApiKey('test'), from('192.0.2.1')))).toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
    expect(at.denials).toEqual([])
  })

  test('is counted by how it ended', async () => {
    const at = openHarness()
    await at.exchange(at.add(), from('192.0.2.1'))
    await failureOf(at.exchange(newApiKey('test'), from('192.0.2.1')))
    const text = await at.metrics.registry.metrics()
    expect(text).toContain('access_exchanges_total{outcome="granted",service="access"} 1')
    expect(text).toContain('access_exchanges_total{outcome="key_unknown",service="access"} 1')
  })
})
