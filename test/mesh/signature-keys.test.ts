import { createHmac, hkdfSync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { sign } from '#mesh/signature.ts'
import { SignatureKeys, purposes, webhookSecretOf } from '#mesh/signature-keys.ts'

const [root, legacy] = ['the root of these tests', 'the secret from before, of these tests']
const keys = new SignatureKeys({ root, legacy })
const bytes = (key: ReturnType<typeof keys.key>): Buffer => key!.export()

describe('a signature key', () => {
  test('of generation 0 is the legacy one: the raw secret for default, derived from it for others', () => {
    const body = Buffer.from('{"a":"ü"}')
    for (const purpose of purposes) {
      expect(sign(keys.key(purpose, 'default', 0)!, body)).toBe(createHmac('sha256', legacy).update(body).digest('hex'))
      const derived = Buffer.from(hkdfSync('sha256', legacy, 'relay/signature/v1', 'workspace:acme', 32))
      expect(bytes(keys.key(purpose, 'acme', 0))).toEqual(derived)
    }
  })

  test('of later generations derives from the root alone, as documented', () => {
    const derived = Buffer.from(hkdfSync('sha256', root, 'relay/signature/v2', '["outbound","acme",3]', 32))
    expect(bytes(keys.key('outbound', 'acme', 3))).toEqual(derived)
    expect(bytes(new SignatureKeys({ root, legacy: 'another' }).key('outbound', 'acme', 3))).toEqual(derived)
    expect(webhookSecretOf(keys.key('outbound', 'acme', 3)!)).toBe(`whsec_${derived.toString('base64')}`)
  })

  test('differs by purpose, workspace, generation and root, with no ambiguity between names', () => {
    const names = [
      ['outbound', 'a', 1],
      ['inbound', 'a', 1],
      ['outbound', 'A', 1],
      ['outbound', 'a', 11],
      ['outbound', 'a1', 1],
      ['outbound', '",1]', 1],
    ] as const
    const made = names.map((name) => keys.key(name[0], name[1], name[2]))
    made.push(keys.key('outbound', 'a', 0), new SignatureKeys({ root: 'another', legacy }).key('outbound', 'a', 1))
    expect(new Set(made.map((key) => bytes(key).toString('hex'))).size).toBe(made.length)
  })

  test('of one workspace cannot be derived from those of another: the key of default derives no valid one', () => {
    const known = [
      bytes(keys.key('outbound', 'default', 0)),
      bytes(keys.key('outbound', 'default', 1)),
      bytes(keys.key('outbound', 'default', 2)),
    ]
    for (const key of known) {
      const theirs = new SignatureKeys({ root: key.toString(), legacy: key.toString() })
      for (const purpose of purposes) {
        for (const generation of [0, 1, 2]) {
          const guess = bytes(theirs.key(purpose, 'acme', generation))
          for (const counts of [1, 2]) expect(guess).not.toEqual(bytes(keys.key(purpose, 'acme', counts)))
        }
      }
    }
  })

  test('is undefined without the secret that it derives from', () => {
    expect(new SignatureKeys({ root: undefined, legacy }).key('outbound', 'default', 1)).toBeUndefined()
    expect(new SignatureKeys({ root, legacy: undefined }).key('outbound', 'default', 0)).toBeUndefined()
  })

  test('stays the same after it left the cache', () => {
    const before = keys.key('outbound', 'kept', 1)!
    expect(keys.key('outbound', 'kept', 1)).toBe(before)
    for (let index = 0; index < 1001; index += 1) keys.key('outbound', `other-${index}`, 1)
    const after = keys.key('outbound', 'kept', 1)!
    expect(after).not.toBe(before)
    expect(after.equals(before)).toBe(true)
  })
})

describe('the id of a root', () => {
  test('distinguishes two roots without revealing them; without a root it is empty', () => {
    expect(keys.rootId).toBe(new SignatureKeys({ root, legacy: undefined }).rootId)
    expect(keys.rootId).not.toBe(new SignatureKeys({ root: 'another', legacy }).rootId)
    expect(keys.rootId).toMatch(/^[0-9a-f]{16}$/)
    expect(new SignatureKeys({ root: undefined, legacy }).rootId).toBe('')
  })
})
