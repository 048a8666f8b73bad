import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { mayComeFrom } from '#mesh/allowed-sources.ts'

describe('where a key may be used from', () => {
  test.each([
    ['anywhere without a list', '192.0.2.1', [], true],
    ['from nowhere known without a list', undefined, [], true],
    ['from nowhere known with one', undefined, ['0.0.0.0/0', '::/0'], false],
    ['in a network', '10.1.2.3', ['10.0.0.0/8'], true],
    ['beside a network', '11.0.0.0', ['10.0.0.0/8'], false],
    ['at the single address', '192.0.2.1', ['192.0.2.1'], true],
    ['next to it', '192.0.2.2', ['192.0.2.1'], false],
    ['in the last of several', '2001:db8::1', ['10.0.0.0/8', '2001:db8::/32'], true],
    ['IPv4 in its IPv6 form', '::ffff:10.1.2.3', ['10.0.0.0/8'], true],
    ['IPv4 in no IPv6 network, however wide', '10.1.2.3', ['::/0'], false],
    ['what is no address', 'unknown', ['0.0.0.0/0', '::/0'], false],
    ['a list that cannot be read', '10.1.2.3', ['10.0.0.0/33', 'anything', ''], false],
  ] satisfies [string, string | undefined, string[], boolean][])('%s', (_, source, allowed, may) => {
    expect(mayComeFrom(source, allowed)).toBe(may)
  })

  test('an IPv4 address is in a block when their first bits are the same, as arithmetic says', () => {
    const word = fc.nat(0xffffffff)
    const dotted = (address: number) => [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join('.')
    fc.assert(
      fc.property(word, word, fc.nat(32), fc.boolean(), (one, other, prefix, near) => {
        const mask = prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0
        const network = (one & mask) >>> 0
        const address = near ? (network | (other & ~mask)) >>> 0 : other
        expect(mayComeFrom(dotted(address), [`${dotted(network)}/${prefix}`])).toBe((address & mask) >>> 0 === network)
      }),
    )
  })

  test('no text makes it fail', () => {
    fc.assert(fc.property(fc.string(), fc.array(fc.string()), (source, allowed) => void mayComeFrom(source, allowed)))
  })
})
