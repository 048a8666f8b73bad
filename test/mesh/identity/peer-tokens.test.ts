import { generateKeyPairSync } from 'node:crypto'
import { beforeEach, describe, expect, test } from 'vitest'
import { privateKeyOf } from '#mesh/identity/ed25519.ts'
import { PeerTokens, peerTokenOf } from '#mesh/identity/peer-tokens.ts'
import { fakeMesh, jwt } from '../../fakes/identity.ts'

const second = 1000
const mesh = fakeMesh()
const actionsKey = privateKeyOf(mesh.seedOf('actions'))

let nowMs: number
const now = () => nowMs
let seenBy: Record<string, PeerTokens>
beforeEach(() => {
  nowMs = Date.UTC(2026, 4, 1)
  seenBy = Object.fromEntries(['idempotency', 'access'].map((audience) => [audience, new PeerTokens({ audience, peers: mesh.peers, now })]))
})

describe('our own proof', () => {
  test('identifies us to the service that it was made for, synchronously from the second time on', async () => {
    const token = await peerTokenOf('actions', actionsKey, now)('idempotency')
    expect(await seenBy['idempotency']!.peer(token)).toBe('actions')
    expect(seenBy['idempotency']!.peer(token)).toBe('actions')
  })

  test('is worth nothing anywhere else', async () => {
    const token = await peerTokenOf('actions', actionsKey, now)('idempotency')
    expect(await seenBy['access']!.peer(token)).toBeUndefined()
  })

  test('is created once for concurrent calls, and then available without waiting', async () => {
    const own = peerTokenOf('actions', actionsKey, now)
    const [one, other] = await Promise.all([own('idempotency'), own('idempotency')])
    expect(one).toBe(other)
    expect(own('idempotency')).toBe(one)
    expect(await own('access')).not.toBe(one)
  })

  test('is renewed with less than a minute left, and never sent after it expired', async () => {
    const own = peerTokenOf('actions', actionsKey, now)
    const first = await own('idempotency')
    nowMs += 239 * second
    expect(own('idempotency')).toBe(first)
    nowMs += 2 * second
    const renewed = await own('idempotency')
    expect(renewed).not.toBe(first)
    expect(own('idempotency')).toBe(renewed)
    nowMs += 3600 * second
    expect(await seenBy['idempotency']!.peer(await own('idempotency'))).toBe('actions')
  })

  test('is created again after a failure', async () => {
    const { publicKey } = generateKeyPairSync('ed25519')
    const own = peerTokenOf('actions', publicKey, now)
    await expect(own('idempotency')).rejects.toThrow()
    await expect(own('idempotency')).rejects.toThrow()
  })
})

const x = (service: string) => mesh.peers.get(service)![0]!
/** A proof of `actions` to `idempotency`, but for what is said otherwise. */
const forged = ({ header = {}, claims = {}, by = 'actions' }: { header?: object; claims?: object; by?: string }): string => {
  const iat = nowMs / 1000
  const said = { iss: 'actions', sub: 'actions', aud: 'relay-mesh/idempotency', iat, exp: iat + 300, ...claims }
  return jwt({ alg: 'EdDSA', kid: x(by), typ: 'relay-peer+jwt', ...header }, said, privateKeyOf(mesh.seedOf(by)))
}

describe('a proof identifies no service', () => {
  test('unless it is valid', async () => {
    expect(await seenBy['idempotency']!.peer(forged({}))).toBe('actions')
  })

  test.each<[string, () => string]>([
    ['for another service', () => forged({ claims: { aud: 'relay-mesh/access' } })],
    ['for callers', () => forged({ claims: { aud: 'relay-mesh' } })],
    ['for several services', () => forged({ claims: { aud: ['relay-mesh/idempotency', 'relay-mesh/access'] } })],
    ['that another service signed in our name', () => forged({ by: 'ratelimit' })],
    ['that another service signed, naming our key', () => forged({ by: 'ratelimit', header: { kid: x('actions') } })],
    ['of one service about another', () => forged({ claims: { sub: 'gateway' } })],
    ['issued by another than it is about', () => forged({ claims: { iss: 'gateway' } })],
    ['of a name that is not in the file', () => forged({ claims: { iss: 'nobody', sub: 'nobody' } })],
    ['by a key that is not in the file', () => fakeMesh().peerToken('actions')('idempotency')],
    ['without a kid', () => forged({ header: { kid: undefined } })],
    ['of the type of caller tokens', () => forged({ header: { typ: 'relay-caller+jwt' } })],
    ['without a signature, alg none', () => forged({ header: { alg: 'none' } }).replace(/[^.]*$/, '')],
    ['that has expired', () => forged({ claims: { iat: nowMs / 1000 - 310, exp: nowMs / 1000 - 10 } })],
    ['that lives longer than five minutes', () => forged({ claims: { exp: nowMs / 1000 + 301 } })],
    ['that is not issued yet', () => forged({ claims: { iat: nowMs / 1000 + 60 } })],
    ['of an outside caller', () => mesh.callerToken({ issuedAtMs: nowMs })],
    ['in place of which a name stands', () => 'actions'],
    ['in place of which nothing stands', () => ''],
  ])('%s', async (_, make) => {
    const token = make()
    expect(await seenBy['idempotency']!.peer(token)).toBeUndefined()
    expect(await seenBy['idempotency']!.peer(token)).toBeUndefined()
  })

  test('that was good once and has ended since', async () => {
    const token = forged({})
    await seenBy['idempotency']!.peer(token)
    nowMs += 306 * second
    expect(seenBy['idempotency']!.peer(token)).toBeUndefined()
    expect(await seenBy['idempotency']!.peer(token)).toBeUndefined()
  })
})

test('during a key exchange, both keys are accepted', async () => {
  const fresh = generateKeyPairSync('ed25519').privateKey
  const peers = new Map([['actions', [x('actions'), fresh.export({ format: 'jwk' }).x!]]])
  const both = new PeerTokens({ audience: 'idempotency', peers, now })
  for (const key of [actionsKey, fresh]) expect(await both.peer(await peerTokenOf('actions', key, now)('idempotency'))).toBe('actions')
})

test('two services with one key are rejected: one could pose as the other', () => {
  const peers = new Map([
    ['actions', [x('actions')]],
    ['gateway', [x('gateway'), x('actions')]],
  ])
  expect(() => new PeerTokens({ audience: 'idempotency', peers })).toThrow('gives actions and gateway the same key')
})

test('works the same with the machine’s clock', async () => {
  const token = await peerTokenOf('actions', actionsKey)('access')
  expect(await new PeerTokens({ audience: 'access', peers: mesh.peers }).peer(token)).toBe('actions')
})
