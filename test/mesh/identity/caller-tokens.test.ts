import { createHmac } from 'node:crypto'
import { beforeEach, describe, expect, test } from 'vitest'
import { CallerTokens } from '#mesh/identity/caller-tokens.ts'
import { type FakeCaller, type FakeMesh, fakeMesh, jwt } from '../../fakes/identity.ts'

const second = 1000
const minute = 60 * second

let nowMs = Date.now()
let mesh: FakeMesh
let tokens: CallerTokens
beforeEach(() => {
  nowMs = Date.UTC(2026, 4, 1)
  mesh = fakeMesh()
  tokens = new CallerTokens({ now: () => nowMs })
  tokens.update({ signingKeys: mesh.signingKeys })
})
/** A token of this moment. */
const issue = (caller: FakeCaller = {}) => mesh.callerToken({ issuedAtMs: nowMs, ...caller })

describe('a caller token', () => {
  test('identifies the caller, the key, and the permissions', async () => {
    const caller = await tokens.caller(issue({ workspace: 'w', actor: 'bob', keyId: 'k1', permissions: ['actions:read'] }))
    expect(caller).toMatchObject({ workspace: 'w', actor: 'bob', keyId: 'k1' })
    expect(['actions:read', 'actions:execute', 'actions', '', 'constructor'].map((each) => caller!.may(each))).toEqual([
      true,
      false,
      false,
      false,
      false,
    ])
  })

  test('accepts an actor as long as a key may have, including characters of two UTF-16 units', async () => {
    for (const actor of ['a'.repeat(128), '\u{1F600}'.repeat(128)]) expect(await tokens.caller(issue({ actor }))).toMatchObject({ actor })
    expect(await tokens.caller(issue({ actor: '\u{1F600}'.repeat(129) }))).toBeUndefined()
  })

  test('is verified synchronously from the second time on, and the result is immutable', async () => {
    const token = issue()
    const first = await tokens.caller(token)
    expect(tokens.caller(token)).toBe(first)
    expect(() => Object.assign(first!, { workspace: 'other' })).toThrow(TypeError)
  })

  test('is accepted while clocks differ by a few seconds, not by more', async () => {
    const token = issue({ issuedAtMs: nowMs + 4 * second })
    expect(await tokens.caller(token)).toBeDefined()
    expect(await tokens.caller(issue({ issuedAtMs: nowMs + 7 * second }))).toBeUndefined()
    const ending = issue({ lifeS: 60 })
    nowMs += minute + 4 * second
    expect(await tokens.caller(ending)).toBeDefined()
  })
})

/** HS256 with the public key as its secret: what a verifier would accept that lets the token choose how it is verified. */
const confused = (): string => {
  const [, claims] = issue().split('.')
  const header = Buffer.from(JSON.stringify({ alg: 'HS256', kid: mesh.signingKeys[0]!.kid, typ: 'relay-caller+jwt' })).toString('base64url')
  const hmac = createHmac('sha256', Buffer.from(mesh.signingKeys[0]!.x, 'base64url')).update(`${header}.${claims}`)
  return `${header}.${claims}.${hmac.digest('base64url')}`
}

const bringsItsOwn = (): string => {
  const by = mesh.newKey()
  return issue({ by, header: { jwk: { kty: 'OKP', crv: 'Ed25519', x: by.x } } })
}

const listOfClaims = (): string => {
  const [key] = mesh.signingKeys
  return jwt({ alg: 'EdDSA', kid: key!.kid, typ: 'relay-caller+jwt' }, [1], key!.privateKey)
}

describe('a token identifies no one', () => {
  const cases: [string, () => string][] = [
    ['without a signature, alg none', () => issue({ header: { alg: 'none' } }).replace(/[^.]*$/, '')],
    ['that says alg none and is signed', () => issue({ header: { alg: 'none' } })],
    ['signed by HS256 with the public key as secret', confused],
    ['that says ES256', () => issue({ header: { alg: 'ES256' } })],
    ['that says Ed25519, the other name of the same', () => issue({ header: { alg: 'Ed25519' } })],
    ['of another type', () => issue({ header: { typ: 'relay-peer+jwt' } })],
    ['of the plain type JWT', () => issue({ header: { typ: 'JWT' } })],
    ['without a type', () => issue({ header: { typ: undefined } })],
    ['with a critical extension that nobody knows', () => issue({ header: { crit: ['b64'], b64: false } })],
    ['without a kid', () => issue({ header: { kid: undefined } })],
    ['with a kid that is no text', () => issue({ header: { kid: { toString: 'x' } } })],
    ['of a kid that is not published', () => issue({ by: mesh.newKey() })],
    ['of a published kid, signed by another key', () => issue({ by: mesh.newKey(mesh.signingKeys[0]!.kid) })],
    ['that brings its own key', bringsItsOwn],
    ['of another issuer', () => issue({ claims: { iss: 'relay' } })],
    ['without an issuer', () => issue({ claims: { iss: undefined } })],
    ['for another audience', () => issue({ claims: { aud: 'relay-mesh/access' } })],
    ['for others beside us', () => issue({ claims: { aud: ['relay-mesh', 'billing'] } })],
    ['for nobody', () => issue({ claims: { aud: undefined } })],
    ['that has expired', () => issue({ issuedAtMs: nowMs - 6 * minute })],
    ['without an end', () => issue({ claims: { exp: undefined } })],
    ['with an end that is no number', () => issue({ claims: { exp: '9999999999' } })],
    ['issued in the future', () => issue({ issuedAtMs: nowMs + minute })],
    ['that does not say when it was issued', () => issue({ claims: { iat: undefined } })],
    ['that lives longer than five minutes', () => issue({ lifeS: 301 })],
    ['issued long ago that still has not ended', () => issue({ issuedAtMs: nowMs - 60 * minute, lifeS: 3 * 3600 })],
    ['not valid yet', () => issue({ claims: { nbf: nowMs / 1000 + 60 } })],
    ['without an actor', () => issue({ claims: { sub: undefined } })],
    ['with an empty workspace', () => issue({ claims: { ws: '' } })],
    ['with a workspace that is no text', () => issue({ claims: { ws: ['acme'] } })],
    ['with an actor of 129 characters', () => issue({ claims: { sub: 'a'.repeat(129) } })],
    ['without a key id', () => issue({ claims: { key: undefined } })],
    ['with permissions in one text', () => issue({ claims: { perms: 'actions:read' } })],
    ['with a permission that is no text', () => issue({ claims: { perms: ['actions:read', 1] } })],
    ['with 101 permissions', () => issue({ claims: { perms: Array.from({ length: 101 }, (_, index) => `p${index}`) } })],
    ['whose claims are not an object', listOfClaims],
    ['that is longer than any of ours', () => issue({ claims: { padding: 'x'.repeat(4096) } })],
    ['whose signature was cut', () => issue().slice(0, -4)],
    ['whose claims were changed', () => issue().replace(/\.[^.]+\./, `.${issue({ actor: 'root' }).split('.')[1]}.`)],
    ['of a peer', () => mesh.peerToken('gateway')('mesh')],
    ['with a part too many', () => `${issue()}.x`],
    ['in place of which nothing stands', () => ''],
  ]

  test.each(cases)('%s', async (_, make) => {
    const token = make()
    expect(await tokens.caller(token)).toBeUndefined()
    // Nor the next time, when it could come from what is kept.
    expect(await tokens.caller(token)).toBeUndefined()
  })
})

describe('a verified token', () => {
  let token: string
  beforeEach(async () => {
    token = issue({ keyId: 'k1', lifeS: 60 })
    await tokens.caller(token)
  })

  test('expires at its end', async () => {
    nowMs += minute + 6 * second
    expect(tokens.caller(token)).toBeUndefined()
    expect(await tokens.caller(token)).toBeUndefined()
  })

  test('ends with its signing key', async () => {
    tokens.update({ signingKeys: [mesh.newKey()] })
    expect(tokens.caller(token)).toBeUndefined()
    expect(await tokens.caller(token)).toBeUndefined()
  })

  test('ends if its kid comes to stand for another key', () => {
    tokens.update({ signingKeys: [mesh.newKey(mesh.signingKeys[0]!.kid)] })
    expect(tokens.caller(token)).toBeUndefined()
  })

  test('stays valid while its key is published beside others', () => {
    tokens.update({ signingKeys: [...mesh.signingKeys, mesh.newKey()] })
    expect(tokens.caller(token)).toMatchObject({ keyId: 'k1' })
  })

  test('ends at once when its API key is revoked, and so do later tokens of it; those of other keys stay valid', async () => {
    const other = issue({ keyId: 'k2' })
    tokens.update({ revocations: [{ keyId: 'k1', notAfterMs: nowMs - 1 }] })
    expect(tokens.caller(token)).toBeUndefined()
    expect(await tokens.caller(token)).toBeUndefined()
    expect(await tokens.caller(issue({ keyId: 'k1' }))).toBeUndefined()
    expect(await tokens.caller(other)).toBeDefined()
  })

  test('stays valid until the time from which its API key is revoked', () => {
    tokens.update({ revocations: [{ keyId: 'k1', notAfterMs: nowMs + 30 * second }] })
    nowMs += 29 * second
    expect(tokens.caller(token)).toBeDefined()
    nowMs += second
    expect(tokens.caller(token)).toBeUndefined()
  })

  test('ends by the earliest revocation, whatever comes after it', () => {
    tokens.update({ revocations: [{ keyId: 'k1', notAfterMs: nowMs + 30 * second }] })
    tokens.update({ revocations: [{ keyId: 'k1', notAfterMs: nowMs }] })
    tokens.update({ revocations: [{ keyId: 'k1', notAfterMs: nowMs + minute }] })
    expect(tokens.caller(token)).toBeUndefined()
  })

  test('ends however long ago it says that its API key was revoked', () => {
    tokens.update({ revocations: [{ keyId: 'k1', notAfterMs: 0 }] })
    tokens.update({ revocations: [{ keyId: 'k2', notAfterMs: 0 }] })
    expect(tokens.caller(token)).toBeUndefined()
  })

  test('is not accepted again while any token of the revoked key could live', async () => {
    tokens.update({ revocations: [{ keyId: 'k1', notAfterMs: nowMs }] })
    nowMs += 5 * minute
    tokens.update({ revocations: [{ keyId: 'k2', notAfterMs: nowMs }] })
    expect(await tokens.caller(issue({ keyId: 'k1', issuedAtMs: nowMs - minute }))).toBeUndefined()
  })

  test('remembers a revoked key for half an hour, whether or not it ever saw a token of it', () => {
    expect(tokens.keyStands('k3')).toBe(true)
    tokens.update({ revocations: [{ keyId: 'k3', notAfterMs: nowMs }] })
    nowMs += 25 * minute
    tokens.update({ revocations: [{ keyId: 'k4', notAfterMs: nowMs + minute }] })
    expect(tokens.keyStands('k3')).toBe(false)
    expect(tokens.keyStands('k4')).toBe(true)
    nowMs += minute
    expect(tokens.keyStands('k4')).toBe(false)
  })

  test('is cached for 10,000 tokens; the one unused for longest is verified again', async () => {
    for (let index = 0; index < 9_999; index += 1) await tokens.caller(issue({ actor: `a${index}` }))
    expect(tokens.caller(token)).not.toBeInstanceOf(Promise)
    await tokens.caller(issue({ actor: 'one more' }))
    expect(tokens.caller(token)).not.toBeInstanceOf(Promise)
    expect(tokens.caller(issue({ actor: 'a0' }))).toBeInstanceOf(Promise)
  })
})

describe('a key that is not known yet', () => {
  test('is requested, and the token then verified by it', async () => {
    const fresh = mesh.newKey()
    let asked = 0
    tokens = new CallerTokens({
      now: () => nowMs,
      onUnknownKid: async () => {
        asked += 1
        tokens.update({ signingKeys: [...mesh.signingKeys, fresh] })
      },
    })
    tokens.update({ signingKeys: mesh.signingKeys })
    expect(await tokens.caller(issue())).toBeDefined()
    expect(asked).toBe(0)
    expect(await tokens.caller(issue({ by: fresh }))).toBeDefined()
    expect(asked).toBe(1)
  })

  test('that cannot be requested makes the caller unknowable, not unknown', async () => {
    const away = () => Promise.reject(new Error('access is away'))
    tokens = new CallerTokens({ now: () => nowMs, onUnknownKid: away })
    tokens.update({ signingKeys: mesh.signingKeys })
    await expect(tokens.caller(issue({ by: mesh.newKey() }))).rejects.toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
    expect(await tokens.caller(issue())).toBeDefined()
  })
})

test('before the first update it reports that it cannot decide', async () => {
  tokens = new CallerTokens({ now: () => nowMs })
  tokens.update({ revocations: [{ keyId: 'k1', notAfterMs: 0 }] })
  for (const token of [issue(), 'nonsense']) {
    await expect(tokens.caller(token)).rejects.toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE', code: 'UNAVAILABLE' })
  }
})

test('without a single key it accepts no token', async () => {
  tokens.update({ signingKeys: [] })
  expect(await tokens.caller(issue())).toBeUndefined()
})

test('an invalid key changes nothing', async () => {
  const token = issue()
  const told = { signingKeys: [{ kid: 'a', x: 'AAAA' }], revocations: [{ keyId: 'key-of-ann', notAfterMs: 0 }] }
  expect(() => tokens.update(told)).toThrow('32 bytes')
  expect(await tokens.caller(token)).toBeDefined()
})
