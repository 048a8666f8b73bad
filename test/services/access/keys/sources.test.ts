import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { mayComeFrom } from '#mesh/allowed-sources.ts'
import { canonicalSource, sourcesWithin } from '../../../../services/access/keys/sources.ts'

describe('where a key may be used from', () => {
  test.each([
    ['192.0.2.7', '192.0.2.7/32'],
    ['192.0.2.0/24', '192.0.2.0/24'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['2001:DB8::1', '2001:db8::1/128'],
    ['2001:0db8:0:0::/32', '2001:db8::/32'],
    ['::/0', '::/0'],
    ['::ffff:192.0.2.7', '192.0.2.7/32'],
    ['::ffff:192.0.2.0/120', '192.0.2.0/24'],
    ['::ffff:0:0/96', '0.0.0.0/0'],
    // Its IPv4-compatible namesake (RFC 4291, 2.5.5.1) is another address.
    ['::192.0.2.7', '::c000:207/128'],
  ])('%s is written %s', (given, canonical) => {
    expect(canonicalSource(given)).toBe(canonical)
    expect(canonicalSource(canonical)).toBe(canonical)
  })

  test.each([
    ['', 'is not an IP address'],
    ['localhost', 'is not an IP address'],
    ['10.1', 'is not an IP address'],
    ['010.0.0.1', 'is not an IP address'],
    ['0x7f.0.0.1', 'is not an IP address'],
    ['192.0.2.7 ', 'is not an IP address'],
    ['192.0.2.7/', 'is not an IP address'],
    ['192.0.2.7/-1', 'is not an IP address'],
    ['192.0.2.0/255.255.255.0', 'is not an IP address'],
    ['fe80::1%eth0', 'is not an IP address'],
    ['192.0.2.0/24/24', 'is not an IP address'],
    ['192.0.2.0/33', 'longer than 32 bits'],
    ['2001:db8::/129', 'longer than 128 bits'],
    ['10.0.0.7/8', 'write 10.0.0.0/8'],
    ['2001:db8::7/32', 'write 2001:db8::/32'],
    ['::ffff:10.0.0.7/104', 'write 10.0.0.0/8'],
  ])('%j is refused: it %s', (given, why) => {
    expect(() => canonicalSource(given)).toThrow(why)
  })

  test.each([
    ['the same block', ['192.0.2.0/24'], ['192.0.2.0/24'], true],
    ['a part of it', ['192.0.2.7/32', '192.0.2.128/25'], ['192.0.2.0/24'], true],
    ['a part of the second', ['2001:db8:1::/48'], ['10.0.0.0/8', '2001:db8::/32'], true],
    ['anything where there is no limit', ['0.0.0.0/0', '::/0'], [], true],
    ['more than it', ['192.0.2.0/23'], ['192.0.2.0/24'], false],
    ['its neighbour', ['192.0.3.0/24'], ['192.0.2.0/24'], false],
    ['everything of the other family', ['::/0'], ['0.0.0.0/0'], false],
    ['one within and one beyond', ['192.0.2.1/32', '192.0.3.1/32'], ['192.0.2.0/24'], false],
  ])('%s lies within a block, or not: %j in %j', (_, inner, outer, within) => {
    expect(sourcesWithin(inner, outer)).toBe(within)
  })

  test('whatever is given, it is refused as such or written in a way that is read the same again and holds its own address', () => {
    const address = fc.oneof(fc.ipV4(), fc.ipV6())
    const block = fc.tuple(address, fc.nat(140)).map(([ip, bits]) => `${ip}/${bits}`)
    const anything = fc.oneof(address, block, fc.ipV4Extended(), fc.string())
    fc.assert(
      fc.property(anything, (given) => {
        let canonical
        try {
          canonical = canonicalSource(given)
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError)
          return
        }
        expect(canonicalSource(canonical)).toBe(canonical)
        expect(mayComeFrom(canonical.split('/')[0], [canonical])).toBe(true)
      }),
    )
  })
})
