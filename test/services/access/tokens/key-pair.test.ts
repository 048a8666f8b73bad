import { createPublicKey, sign, verify } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { KeyDecryptionError, Sealer } from '../../../../services/access/tokens/key-pair.ts'

describe('a sealed key pair', () => {
  const sealer = new Sealer('a secret of these tests')

  test('opens to the private half of what is published, and only for who has the secret', async () => {
    const pair = await sealer.newPair()
    const published = createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x: pair.x } })
    const message = Buffer.from('signed')
    expect(verify(null, message, published, sign(null, message, new Sealer('a secret of these tests').open(pair)))).toBe(true)
    expect(() => new Sealer('another secret').open(pair)).toThrow(KeyDecryptionError)
  })

  test('does not open when any bit of it was changed, or under another name or public half', async () => {
    const [pair, other] = [await sealer.newPair(), await sealer.newPair()]
    fc.assert(
      fc.property(fc.nat(pair.sealed.length * 8 - 1), (bit) => {
        const sealed = Buffer.from(pair.sealed)
        sealed[bit >> 3]! ^= 1 << (bit & 7)
        expect(() => sealer.open({ ...pair, sealed })).toThrow(KeyDecryptionError)
      }),
    )
    for (let length = 0; length < pair.sealed.length; length += 1) {
      expect(() => sealer.open({ ...pair, sealed: pair.sealed.subarray(0, length) })).toThrow(KeyDecryptionError)
    }
    expect(() => sealer.open({ ...pair, kid: other.kid })).toThrow(KeyDecryptionError)
    expect(() => sealer.open({ ...pair, x: other.x })).toThrow(KeyDecryptionError)
  })

  test('shows nothing of its private half', async () => {
    const pair = await sealer.newPair()
    const { d } = sealer.open(pair).export({ format: 'jwk' })
    expect(pair.sealed.includes(Buffer.from(d!, 'base64url'))).toBe(false)
    expect(() => new Sealer('x').open(pair)).toThrow(expect.objectContaining({ message: expect.not.stringContaining(d!) }))
  })
})
