import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { ConfigError, readConfig } from '#mesh/config.ts'
import { identity } from '#mesh/identity.ts'
import { identityVariables, parsePeers } from '#mesh/identity/variables.ts'
import { privateKeyOf, publicKeyOf, xOf } from '#mesh/identity/ed25519.ts'
import { fakeMesh } from '../fakes/identity.ts'

const mesh = fakeMesh()
const [ours] = mesh.peers.get('actions')!
const notListed = 'MESH_PEERS_FILE does not list this key for actions'
const folder = mkdtempSync(join(tmpdir(), 'relay-peers-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const own = (over: Record<string, string> = {}) => identity('actions', readConfig(identityVariables, { ...mesh.env('actions'), ...over }))
const fileOf = (content: string): { MESH_PEERS_FILE: string } => {
  const file = join(folder, 'peers.json')
  writeFileSync(file, content)
  return { MESH_PEERS_FILE: file }
}

describe('an identity', () => {
  test('proves its name to the others, and verifies theirs', async () => {
    const [actions, gateway] = ['actions', 'gateway'].map((name) => identity(name, readConfig(identityVariables, mesh.env(name))))
    expect(await actions!.peers.peer(await gateway!.peerToken('actions'))).toBe('gateway')
    expect(await gateway!.peers.peer(await actions!.peerToken('gateway'))).toBe('actions')
    expect(await gateway!.peers.peer(await gateway!.peerToken('actions'))).toBeUndefined()
  })

  test.each<[string, () => Record<string, string>, string]>([
    ['the key of another', () => ({ MESH_IDENTITY_KEY: mesh.seedOf('gateway') }), notListed],
    ['a key that is not listed', () => ({ MESH_IDENTITY_KEY: fakeMesh().seedOf('actions') }), notListed],
    ['a file without its name', () => fileOf(JSON.stringify({ gateway: mesh.peers.get('gateway') })), notListed],
    ['a short key', () => ({ MESH_IDENTITY_KEY: 'dG9vIHNob3J0' }), 'MESH_IDENTITY_KEY is not 32 bytes'],
    ['a key with padding', () => ({ MESH_IDENTITY_KEY: `${mesh.seedOf('actions')}=` }), 'MESH_IDENTITY_KEY is not 32 bytes'],
    ['a listed key that is none', () => fileOf('{"actions": ["AAAA"]}'), 'MESH_PEERS_FILE has a key that is not 32 bytes'],
    ['one key for two', () => fileOf(JSON.stringify({ actions: [ours], gateway: [ours] })), 'the same key'],
    ['a file that is not there', () => ({ MESH_PEERS_FILE: join(folder, 'none') }), 'MESH_PEERS_FILE ENOENT'],
    ['a file that is not JSON', () => fileOf(mesh.seedOf('actions')), 'MESH_PEERS_FILE is not JSON'],
  ])('is refused with %s, without repeating the key', (_, env, problem) => {
    const variables = env()
    expect(() => own(variables)).toThrow(ConfigError)
    expect(() => own(variables)).toThrow(problem)
    const given = variables['MESH_IDENTITY_KEY'] ?? mesh.seedOf('actions')
    for (const secret of [mesh.seedOf('actions'), given]) expect(() => own(variables)).not.toThrow(secret)
  })
})

describe('the file of peers', () => {
  test('gives each service its keys', () => {
    expect(parsePeers('{"actions": ["a", "b"], "rate-limit2": ["c"]}')).toEqual(
      new Map([
        ['actions', ['a', 'b']],
        ['rate-limit2', ['c']],
      ]),
    )
  })

  test.each([
    ['[]', 'not a JSON object'],
    ['null', 'not a JSON object'],
    ['"actions"', 'not a JSON object'],
    ['{"Actions": ["a"]}', '"Actions", which is not the name'],
    ['{"*": ["a"]}', '"*", which is not the name'],
    ['{"": ["a"]}', '"", which is not the name'],
    [`{"a${'a'.repeat(32)}": ["a"]}`, 'which is not the name'],
    ['{"__proto__": ["a"]}', '"__proto__", which is not the name'],
    ['{"actions": "a"}', 'does not give actions a list'],
    ['{"actions": []}', 'does not give actions a list'],
    ['{"actions": [1]}', 'does not give actions a list'],
    ['', 'is not JSON'],
  ])('is refused as %s', (json, problem) => {
    expect(() => parsePeers(json)).toThrow(problem)
  })
})

test('a seed gives the key pair of RFC 8032, section 7.1, test 1', () => {
  const seed = Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex').toString('base64url')
  const x = Buffer.from('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a', 'hex').toString('base64url')
  expect(xOf(privateKeyOf(seed))).toBe(x)
  expect(xOf(publicKeyOf(x))).toBe(x)
})
