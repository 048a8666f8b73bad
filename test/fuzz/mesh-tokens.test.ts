/** Whatever is shown as a token: nobody is told by it, and nothing but "nobody" comes of it. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CallerTokens } from '#mesh/identity/caller-tokens.ts'
import { PeerTokens } from '#mesh/identity/peer-tokens.ts'
import { fakeMesh, jwt } from '../fakes/identity.ts'

const mesh = fakeMesh()
const callers = new CallerTokens()
callers.update({ signingKeys: mesh.signingKeys })
const peers = new PeerTokens({ audience: 'idempotency', peers: mesh.peers })
const [key] = mesh.signingKeys
const [gateway] = mesh.peers.get('gateway')!

const nobody = async (token: string): Promise<void> => {
  expect([await callers.caller(token), await peers.peer(token)]).toEqual([undefined, undefined])
}

const anything = fc.string({ unit: fc.nat(0xffff).map((unit) => String.fromCharCode(unit)), maxLength: 300 })
const base64url = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes).toString('base64url'))
const json = fc.json({ maxDepth: 3 }).map((text) => Buffer.from(text).toString('base64url'))
const parts = fc.array(fc.oneof(base64url, json, anything), { minLength: 2, maxLength: 5 })
const good = () => [mesh.callerToken(), mesh.peerToken('gateway')('idempotency')]

describe('nobody is told', () => {
  test('by garbage', () => fc.assert(fc.asyncProperty(anything, nobody)))

  test('by parts of garbage', () => fc.assert(fc.asyncProperty(parts, (each) => nobody(each.join('.')))))

  test('by a header of ours with a hostile value in it, signed or not', () => {
    const field = fc.constantFrom('alg', 'kid', 'typ', 'crit', 'b64', 'jwk', 'x5c', 'zip', '__proto__')
    const header = fc.record({ field, value: fc.jsonValue({ maxDepth: 2 }), kid: fc.constantFrom(key!.kid, gateway!) })
    return fc.assert(
      fc.asyncProperty(header, fc.jsonValue({ maxDepth: 2 }), async ({ field: name, value, kid }, claims) =>
        nobody(jwt({ alg: 'EdDSA', kid, typ: 'relay-caller+jwt', [name]: value }, claims, key!.privateKey)),
      ),
    )
  })

  test('by a good token with one character changed, added or left out', () => {
    const change = fc.record({ which: fc.nat(1), at: fc.nat(1000), to: fc.constantFrom('', 'A', '-', '.', '=', ' ', '\u0000', 'é') })
    return fc.assert(
      fc.asyncProperty(change, fc.boolean(), async ({ which, at, to }, replace) => {
        const token = good()[which]!
        const index = at % token.length
        const changed = token.slice(0, index) + to + token.slice(index + (replace ? 1 : 0))
        fc.pre(meaningOf(changed) !== meaningOf(token))
        await nobody(changed)
      }),
    )
  })
})

describe('who signs whatever claims with the right key', () => {
  test('is told as somebody only where every claim has its type and bounds', () => {
    const some = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constantFrom('a', '', 'a'.repeat(64), 'a'.repeat(200)))
    const claims = fc.record({ sub: some, ws: some, key: some, perms: fc.oneof(some, fc.array(some, { maxLength: 3 })) })
    return fc.assert(
      fc.asyncProperty(claims, async (over) => {
        const caller = await callers.caller(mesh.callerToken({ claims: over }))
        if (caller === undefined) return
        const { sub, ws, key: keyId, perms } = over
        expect(caller).toMatchObject({ actor: sub, workspace: ws, keyId })
        const bounded = (text: unknown) => typeof text === 'string' && text.length > 0 && text.length <= 128
        for (const each of [sub, ws, keyId]) expect(each).toSatisfy(bounded)
        expect(perms).toSatisfy((list) => Array.isArray(list) && list.every((each) => typeof each === 'string'))
      }),
    )
  })
})

/** What a token says as bytes: the last character of a base64url text can be written in several ways. */
function meaningOf(token: string): string {
  const written = token.split('.')
  if (written.some((part) => !/^[A-Za-z0-9_-]*$/.test(part))) return token
  return written.map((part) => Buffer.from(part, 'base64url').toString('hex')).join('.')
}
