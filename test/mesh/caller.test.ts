import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ConfigError, Secret } from '#mesh/config.ts'
import { bearerToken, staticPeerToken, staticVerifier } from '#mesh/grpc/caller.ts'
import { identity } from '#mesh/identity.ts'

const key = 'an-api-key-of-these-tests'
const peerSecret = 'the secret of these tests alone'
const verifier = staticVerifier({ key, workspace: 'acme', actor: 'ann', peerSecret })

const anything = fc.string({ unit: fc.nat(0xffff).map((unit) => String.fromCharCode(unit)), maxLength: 100 })

describe('a caller', () => {
  test('with the key is who the configuration says', async () => {
    expect(await verifier.caller(key)).toMatchObject({ workspace: 'acme', actor: 'ann' })
  })

  test('with any other token, of any length, is nobody', () => {
    // Comparing the texts themselves in constant time would throw for another length.
    const near = fc.constantFrom('', key.slice(0, -1), `${key}x`, key.toUpperCase(), ` ${key}`)
    const other = fc.oneof(near, anything).filter((token) => token !== key)
    fc.assert(fc.property(other, (token) => verifier.caller(token) === undefined))
  })

  test('is nobody with the token or the secret of a peer', () => {
    expect(verifier.caller(staticPeerToken('gateway', peerSecret)())).toBeUndefined()
    expect(verifier.caller(peerSecret)).toBeUndefined()
  })
})

describe('a peer', () => {
  test('is who its token proves, at first and again', () => {
    for (const name of ['gateway', 'actions', 'gateway']) expect(verifier.peer(staticPeerToken(name, peerSecret)())).toBe(name)
  })

  test.each([
    ['another secret', staticPeerToken('gateway', 'another secret')()],
    ['another’s proof under its own name', staticPeerToken('actions', peerSecret)().replace('actions', 'gateway')],
    ['a name alone', 'gateway'],
    ['a name and nothing', 'gateway.'],
    ['the API key', key],
    ['the secret itself', peerSecret],
    ['nothing', ''],
    ['a name that is none', `${'a'.repeat(100)}.x`],
    ['a proof in capitals', staticPeerToken('gateway', peerSecret)().replace(/\..*/, (proof) => proof.toUpperCase())],
    ['a proof with more behind it', `${staticPeerToken('gateway', peerSecret)()}0`],
  ])('with %s is nobody', (_, token) => {
    expect(verifier.peer(token)).toBeUndefined()
  })

  test('is nobody with whatever else', () => {
    fc.assert(fc.property(anything, (token) => verifier.peer(token) === undefined))
  })
})

describe('an Authorization header', () => {
  test('gives the token of the Bearer scheme, however the scheme is written', () => {
    for (const scheme of ['Bearer', 'bearer', 'BEARER']) expect(bearerToken(`${scheme} ${key}`)).toBe(key)
    expect(bearerToken('Bearer   a.b-c_~+/=')).toBe('a.b-c_~+/=')
  })

  test.each([
    undefined,
    '',
    'Bearer',
    'Bearer ',
    key,
    `Basic ${key}`,
    `Bearer ${key} x`,
    `Bearer ${key}\n`,
    'Bearer ä',
    `Bearer ${'a'.repeat(5000)}`,
  ])('that is anything else gives none: %#', (header) => {
    expect(bearerToken(header)).toBeUndefined()
  })
})

describe('an identity', () => {
  const from = (staticKey: string, secret: string) => () =>
    identity('tester', { staticKey: new Secret(staticKey), staticWorkspace: 'acme', staticActor: 'ann', peerSecret: new Secret(secret) })

  test('is believed by who shares its secret', () => {
    const { peerToken } = from('a-key-that-is-long-enough', peerSecret)()
    expect(verifier.peer(peerToken())).toBe('tester')
  })

  test.each([
    ['a short key', 'tiny', peerSecret, 'RELAY_STATIC_KEY is shorter'],
    ['a short secret', key, 'tiny', 'MESH_PEER_SECRET is shorter'],
    ['one secret for both', key, key, 'MESH_PEER_SECRET is RELAY_STATIC_KEY'],
    ['a key that no header can carry', 'a key with spaces in it, oh my', peerSecret, 'RELAY_STATIC_KEY has characters'],
  ])('is refused with %s, and does not say it aloud', (_, staticKey, secret, problem) => {
    expect(from(staticKey, secret)).toThrow(ConfigError)
    expect(from(staticKey, secret)).toThrow(problem)
    expect(from(staticKey, secret)).not.toThrow(staticKey)
  })
})
