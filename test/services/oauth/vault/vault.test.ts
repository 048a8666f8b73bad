import { randomBytes, randomUUID } from 'node:crypto'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Fernet } from '../../../../services/oauth/vault/fernet.ts'
import { KeyListError } from '../../../../services/oauth/vault/keyring.ts'
import { type Binding, Vault, VaultError } from '../../../../services/oauth/vault/vault.ts'

const newKey = () => `${randomBytes(32).toString('base64url')}=`
const [a, b] = [newKey(), newKey()]
const vault = new Vault([a, b])
const mine: Binding = { workspace: 'acme', connectionId: '6f4c1a1e-5f0d-4a43-9a5b-0d8b3f1e2c3d', kind: 'access' }

const bareOf = (key: string, text: string | Uint8Array) => new Fernet(Buffer.from(key, 'base64url')).encrypt(Buffer.from(text as string), 1)
const reasonOf = (work: () => unknown): VaultError['reason'] | undefined => {
  try {
    work()
    return undefined
  } catch (error) {
    if (error instanceof VaultError) return error.reason
    throw error
  }
}

const units = fc.string({ unit: fc.nat(0xffff).map((unit) => String.fromCharCode(unit)), maxLength: 100 })
const bindings = fc.record<Binding>({ workspace: units, connectionId: units, kind: fc.constantFrom('access', 'refresh', 'verifier') })

describe('a sealed token', () => {
  test('opens where it belongs, whatever its text is', () => {
    fc.assert(
      fc.property(bindings, units, (binding, text) => {
        expect(vault.open(binding, vault.seal(binding, text))).toBe(text)
      }),
    )
    const long = 'x'.repeat(65_536)
    for (const text of ['', long, '\0'.repeat(65_536), '\ud800']) expect(vault.open(mine, vault.seal(mine, text))).toBe(text)
    expect(() => vault.seal(mine, `${long}x`)).toThrow(RangeError)
  })

  test('opens nowhere else: it was swapped', () => {
    fc.assert(
      fc.property(bindings, bindings, units, (one, other, text) => {
        fc.pre(JSON.stringify(one) !== JSON.stringify(other))
        expect(reasonOf(() => vault.open(other, vault.seal(one, text)))).toBe('context_mismatch')
      }),
    )
    const sealed = vault.seal(mine, 'token')
    const workspaces = ['acme2', 'Acme', ''].map((workspace) => ({ workspace }))
    for (const change of [...workspaces, { connectionId: randomUUID() }, { kind: 'refresh' } as const]) {
      for (const legacy of [false, true])
        expect(reasonOf(() => vault.open({ ...mine, ...change }, sealed, { legacy }))).toBe('context_mismatch')
    }
  })

  test('is another one each time, and shows nothing of what is in it', () => {
    const [one, other] = [vault.seal(mine, 'token'), vault.seal(mine, 'token')]
    expect(one).not.toBe(other)
    for (const text of ['token', 'acme', 'access']) {
      expect(Buffer.from(one.split('.')[2]!, 'base64url').includes(text)).toBe(false)
    }
  })

  test('is unreadable with any bit changed, cut anywhere, and without its key', () => {
    const sealed = vault.seal(mine, 'token')
    fc.assert(
      fc.property(fc.nat(sealed.length * 8 - 1), (bit) => {
        const changed = Buffer.from(sealed)
        changed[bit >> 3]! ^= 1 << (bit & 7)
        for (const legacy of [false, true]) {
          expect(reasonOf(() => vault.open(mine, changed.toString('latin1'), { legacy }))).toBe('unreadable')
        }
      }),
    )
    for (let length = 0; length < sealed.length; length += 1) {
      expect(reasonOf(() => vault.open(mine, sealed.slice(0, length)))).toBe('unreadable')
    }
    expect(reasonOf(() => new Vault([b]).open(mine, sealed))).toBe('unreadable')
    expect(new Vault([b, a]).open(mine, sealed)).toBe('token')
  })

  test('is unreadable where a token is sealed that this vault did not make', () => {
    const kid = vault.firstKid
    const number = JSON.stringify({ w: mine.workspace, c: mine.connectionId, k: mine.kind, t: 1 })
    for (const plain of ['ya29.token', '{}', '{"w":"acme"}', 'null', '[]', '{"w":', number]) {
      expect(reasonOf(() => vault.open(mine, `v1.${kid}.${bareOf(a, plain)}`))).toBe('unreadable')
    }
    expect(reasonOf(() => vault.open(mine, `v1.${kid}.${bareOf(a, Buffer.of(0x7b, 0xff))}`))).toBe('unreadable')
  })

  test('is not even tried where it is longer than any could be', () => {
    const huge = `v1.${vault.firstKid}.${bareOf(a, 'x'.repeat(1_000_000))}`
    expect(reasonOf(() => vault.open(mine, huge))).toBe('unreadable')
    expect(reasonOf(() => vault.open(mine, huge.split('.')[2]!, { legacy: true }))).toBe('unreadable')
  })
})

describe('a bare token of the service before this one', () => {
  test('opens by any key, but only in a row that is marked as legacy', () => {
    for (const key of [a, b]) {
      for (const text of ['ya29.token', '{"token":"x"}', '{', 'zażółć']) {
        expect(vault.open(mine, bareOf(key, text), { legacy: true })).toBe(text)
        expect(reasonOf(() => vault.open(mine, bareOf(key, text)))).toBe('unreadable')
      }
    }
    expect(reasonOf(() => vault.open(mine, bareOf(newKey(), 'x'), { legacy: true }))).toBe('unreadable')
    expect(reasonOf(() => vault.open(mine, bareOf(a, Buffer.of(0xff)), { legacy: true }))).toBe('unreadable')
  })

  test('is not what is left of a sealed one when its prefix is taken off: that was bound', () => {
    const stripped = vault.seal(mine, 'token').split('.')[2]!
    expect(reasonOf(() => vault.open(mine, stripped, { legacy: true }))).toBe('context_mismatch')
    expect(reasonOf(() => vault.open({ ...mine, workspace: 'evil' }, stripped, { legacy: true }))).toBe('context_mismatch')
    expect(reasonOf(() => vault.open(mine, stripped))).toBe('unreadable')
  })
})

describe('sealing anew', () => {
  const swapped = new Vault([b, a])

  test('leaves alone what the first key sealed, and seals the rest by it, there and back', () => {
    const sealed = vault.seal(mine, 'token')
    expect(vault.reseal(mine, sealed)).toBeUndefined()
    const anew = swapped.reseal(mine, sealed)!
    expect(vault.kidOf(anew)).toBe(swapped.firstKid)
    expect(new Vault([b]).open(mine, anew)).toBe('token')
    expect(new Vault([a]).open(mine, vault.reseal(mine, anew)!)).toBe('token')
  })

  test('binds a bare token to its row', () => {
    const anew = vault.reseal(mine, bareOf(b, 'ya29.token'), { legacy: true })!
    expect(new Vault([a]).open(mine, anew)).toBe('ya29.token')
    expect(reasonOf(() => vault.open({ ...mine, workspace: 'evil' }, anew))).toBe('context_mismatch')
  })

  test('makes nothing right that is not: what was swapped stays so', () => {
    const theirs = vault.seal({ ...mine, workspace: 'other' }, 'token')
    expect(reasonOf(() => swapped.reseal(mine, theirs))).toBe('context_mismatch')
    expect(reasonOf(() => swapped.reseal(mine, bareOf(b, 'x')))).toBe('unreadable')
    expect(reasonOf(() => new Vault([b]).reseal(mine, theirs))).toBe('unreadable')
  })
})

test('a vault dates what it seals by its clock, in whole seconds', () => {
  const sealed = new Vault([a], () => 1_700_000_000_999).seal(mine, 'token')
  expect(Buffer.from(sealed.split('.')[2]!, 'base64url').readBigUInt64BE(1)).toBe(1_700_000_000n)
})

test('a vault is not made of keys that cannot be taken, and shows none when it is printed', () => {
  expect(() => new Vault([a, a])).toThrow(KeyListError)
  const shown = JSON.stringify(vault) + inspect(vault, { depth: 9, showHidden: true })
  for (const key of [a, b]) expect(shown).not.toContain(key)
})

test('an error shows neither the token nor whose it is', () => {
  const sealed = vault.seal(mine, 'token')
  expect(() => vault.open({ ...mine, kind: 'refresh' }, sealed)).toThrow(new VaultError('context_mismatch'))
  expect(new VaultError('context_mismatch').message).toBe('a sealed value belongs to another place')
  expect(new VaultError('unreadable').message).toBe('a sealed value cannot be opened with these keys')
})
