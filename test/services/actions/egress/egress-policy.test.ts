import { describe, expect, test } from 'vitest'
import { checkAddress, parsePolicy, parseTarget, publicOnly } from '../../../../services/actions/egress/egress-policy.ts'

const loopback = parsePolicy(['127.0.0.0/8', '::1/128'])

/** The blocks of the IANA registries and of RFC 4291, by their first and last address. */
const specialBlocks: readonly (readonly [block: string, first: string, last: string])[] = [
  ['0.0.0.0/8', '0.0.0.0', '0.255.255.255'],
  ['10.0.0.0/8', '10.0.0.0', '10.255.255.255'],
  ['100.64.0.0/10', '100.64.0.0', '100.127.255.255'],
  ['127.0.0.0/8', '127.0.0.0', '127.255.255.255'],
  ['169.254.0.0/16', '169.254.0.0', '169.254.255.255'],
  ['172.16.0.0/12', '172.16.0.0', '172.31.255.255'],
  ['192.0.0.0/24', '192.0.0.0', '192.0.0.255'],
  ['192.0.2.0/24', '192.0.2.0', '192.0.2.255'],
  ['192.31.196.0/24', '192.31.196.0', '192.31.196.255'],
  ['192.52.193.0/24', '192.52.193.0', '192.52.193.255'],
  ['192.88.99.0/24', '192.88.99.0', '192.88.99.255'],
  ['192.168.0.0/16', '192.168.0.0', '192.168.255.255'],
  ['192.175.48.0/24', '192.175.48.0', '192.175.48.255'],
  ['198.18.0.0/15', '198.18.0.0', '198.19.255.255'],
  ['198.51.100.0/24', '198.51.100.0', '198.51.100.255'],
  ['203.0.113.0/24', '203.0.113.0', '203.0.113.255'],
  ['224.0.0.0/4', '224.0.0.0', '239.255.255.255'],
  ['240.0.0.0/4', '240.0.0.0', '255.255.255.255'],
  ['IPv4-compatible and all of ::/8', '::', 'ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['::ffff:0:0/96 mapped', '::ffff:0.0.0.0', '::ffff:255.255.255.255'],
  ['::ffff:0:0:0/96 translated', '::ffff:0:0:0', '::ffff:0:ffff:ffff'],
  ['64:ff9b::/96 NAT64', '64:ff9b::', '64:ff9b::ffff:ffff'],
  ['64:ff9b:1::/48 local NAT64', '64:ff9b:1::', '64:ff9b:1:ffff:ffff:ffff:ffff:ffff'],
  ['100::/64 discard', '100::', '100::ffff:ffff:ffff:ffff'],
  ['100:0:0:1::/64 dummy', '100:0:0:1::', '100:0:0:1:ffff:ffff:ffff:ffff'],
  ['200::/7 and on to 2000::', '200::', '1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['2001::/23 with Teredo, benchmarking, ORCHID', '2001::', '2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['2001:db8::/32 documentation', '2001:db8::', '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['2002::/16 6to4', '2002::', '2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['2620:4f:8000::/48 AS112', '2620:4f:8000::', '2620:4f:8000:ffff:ffff:ffff:ffff:ffff'],
  ['3fff::/20 documentation', '3fff::', '3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['4000:: and on to fc00::', '4000::', 'fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['5f00::/16 segment routing', '5f00::', '5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['fc00::/7 unique local', 'fc00::', 'fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['fe80::/10 link-local', 'fe80::', 'febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['fec0::/10 site-local', 'fec0::', 'feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['ff00::/8 multicast', 'ff00::', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
]

describe('an address', () => {
  test.each(specialBlocks)('in %s is rejected from the first to the last', (_block, first, last) => {
    expect(checkAddress(first, publicOnly)).toBeTypeOf('string')
    expect(checkAddress(last, publicOnly)).toBeTypeOf('string')
  })

  test.each([
    '1.0.0.0',
    '9.255.255.255',
    '11.0.0.0',
    '100.63.255.255',
    '100.128.0.0',
    '126.255.255.255',
    '128.0.0.0',
    '169.253.255.255',
    '169.255.0.0',
    '172.15.255.255',
    '172.32.0.0',
    '192.0.1.0',
    '192.0.3.0',
    '192.167.255.255',
    '192.169.0.0',
    '198.17.255.255',
    '198.20.0.0',
    '223.255.255.255',
    '93.184.216.34',
    '2000::',
    '2001:200::',
    '2001:db7:ffff::',
    '2001:db9::',
    '2003::',
    '2606:4700:4700::1111',
    '3ffe:ffff::',
    '3fff:1000::',
  ])('%s, beside the special blocks, is let through', (address) => {
    expect(checkAddress(address, publicOnly)).toBeUndefined()
  })

  test.each([
    ['168.63.129.16', 'the platform address of a cloud that is public by the registry'],
    ['::ffff:93.184.216.34', 'a public IPv4 address mapped into IPv6'],
    ['64:ff9b::5db8:d822', 'a public IPv4 address behind NAT64'],
    ['2002:5db8:d822::', 'a public IPv4 address behind 6to4'],
    ['fe80::1%eth0', 'an address with a zone'],
    ['2606:4700::1111%1', 'a public address with a zone'],
    ['127.1', 'a short spelling'],
    ['010.8.8.8', 'an octal spelling'],
    ['localhost', 'a name'],
    ['', 'nothing'],
  ])('%s is refused: %s', (address) => {
    expect(checkAddress(address, publicOnly)).toBeTypeOf('string')
  })

  test('is described as what it is', () => {
    expect(checkAddress('127.0.0.1', publicOnly)).toBe('a loopback address')
    expect(checkAddress('169.254.169.254', publicOnly)).toBe('a link-local address')
    expect(checkAddress('::ffff:127.0.0.1', publicOnly)).toBe('an IPv4 address inside of an IPv6 one')
  })

  test('is allowed within a configured block, and nowhere beside it', () => {
    expect(checkAddress('127.8.9.10', loopback)).toBeUndefined()
    expect(checkAddress('::1', loopback)).toBeUndefined()
    expect(checkAddress('10.0.0.1', loopback)).toBe('a private address')
    expect(checkAddress('::2', loopback)).toBeTypeOf('string')
    expect(checkAddress('::ffff:127.0.0.1', loopback)).toBe('an IPv4 address inside of an IPv6 one')
    expect(checkAddress('fe80::1%lo', parsePolicy(['fe80::/10']))).toBe('not a plain IP address')
  })
})

describe('a configured block', () => {
  test.each([
    ['127.0.0.1', 'is not an address block'],
    ['', 'is not an address block'],
    ['localhost/8', 'is not an address block'],
    ['127.1/8', 'is not an address block'],
    ['fe80::%eth0/10', 'is not an address block'],
    ['127.0.0.0/-8', 'is not an address block'],
    ['127.0.0.0/8/8', 'is not an address block'],
    ['127.0.0.0/33', 'has a prefix longer than 32 bits'],
    ['::1/129', 'has a prefix longer than 128 bits'],
    ['10.0.0.7/8', 'has bits beyond its prefix: write 10.0.0.0/8'],
    ['fd00::1/8', 'has bits beyond its prefix: write fd00::/8'],
  ])('%s is said to be wrong: it %s', (block, complaint) => {
    expect(() => parsePolicy(['::1/128', block])).toThrow(`${JSON.stringify(block)} ${complaint}`)
  })
})

/** Spellings that lead to loopback, link-local or private addresses, or to nothing that a URL should name. */
const badTargets = [
  'http://127.0.0.1/',
  'https://127.0.0.1:8443/',
  'HTTP://127.0.0.1',
  'http://127.1/',
  'http://127.0.1/',
  'http://0x7f.1/',
  'http://0x7F.0x0.0x0.0x1/',
  'http://2130706433/',
  'http://0x7f000001/',
  'http://017700000001/',
  'http://0177.0.0.1/',
  'http://127.0.0.1./',
  'http://127.000.000.001/',
  'http://１２７.０.０.１/',
  'http://127。0。0。1/',
  'http://127．0．0．1/',
  'http://127｡0｡0｡1/',
  'http://①②⑦.0.0.1/',
  'http://%31%32%37.0.0.1/',
  'http://127%2e0%2e0%2e1/',
  'http://%6c%6f%63alhost/',
  'http://localhost/',
  'http://localhost./',
  'http://localhost../',
  'http://LOCALHOST/',
  'http://LocalHost:80/',
  'http://ｌｏｃａｌｈｏｓｔ/',
  'http://api.localhost/',
  'http://api.localhost./',
  'http://localhost.localdomain/',
  'http://printer.local/',
  'http://printer.local./',
  'http://metadata.google.internal/',
  'http://internal/',
  'http://router.home.arpa/',
  'http://0/',
  'http://0.0.0.0/',
  'http://[::]/',
  'http://[::1]/',
  'http://[0:0:0:0:0:0:0:1]/',
  'http://[0000:0000:0000:0000:0000:0000:0000:0001]/',
  'http://[::ffff:127.0.0.1]/',
  'http://[::ffff:7f00:1]/',
  'http://[::FFFF:7F00:0001]/',
  'http://[::127.0.0.1]/',
  'http://[64:ff9b::7f00:1]/',
  'http://[64:ff9b:1::a00:1]/',
  'http://[2002:7f00:1::]/',
  'http://[2001:0:0:0:0:0:80ff:fffe]/',
  'http://[fe80::1]/',
  'http://[fe80::1%25eth0]/',
  'http://[fe80::1%eth0]/',
  'http://[::1%25lo]/',
  'http://[fd00:ec2::254]/',
  'http://[ff02::1]/',
  'http://169.254.169.254/latest/meta-data/',
  'http://2852039166/',
  'http://0xa9fea9fe/',
  'http://100.100.100.200/',
  'http://10.0.0.1/',
  'http://192.168.1.1/',
  'http://172.16.0.1/',
  'http://255.255.255.255/',
  'http://224.0.0.1/',
  'http://168.63.129.16/',
  'http://user@example.com/',
  'http://user:password@example.com/',
  'http://@example.com/',
  'http://:@example.com/',
  'http://example.com@127.0.0.1/',
  'http://127.0.0.1#@example.com/',
  'http://127.0.0.1\\@example.com/',
  'http:\\\\127.0.0.1\\',
  'http:127.0.0.1',
  'http:/127.0.0.1',
  'http:///127.0.0.1',
  '//127.0.0.1/',
  '127.0.0.1',
  'example.com',
  '',
  ' ',
  'http://',
  'http://.',
  'http://?',
  'http://#',
  'https://[',
  'http://[]/',
  'http://1.2.3.4.5/',
  'http://256.256.256.256/',
  'http://0x100000000/',
  'http://example.com:0/',
  'http://example.com:65536/',
  'http://example.com:-1/',
  'http://example.com:80:80/',
  'ftp://example.com/',
  'file:///etc/passwd',
  'gopher://example.com/',
  'javascript:alert(1)',
  'data:,x',
  'ws://example.com/',
  'blob:http://example.com/x',
  'view-source:http://example.com',
  ' http://example.com/',
  'http://example.com/ ',
  'http://exam\nple.com/',
  'http://example.com/a\tb',
  'http://example.com/\r\nX-Signature:%20x',
  'http://example.com/\u202Egnp.exe',
  'http://exa\u200Bmple.com/',
  'http://example.com/\uD800',
  'http://example.com/a b',
  'http://ex%00ample.com/',
]

describe('a target', () => {
  test('is rejected in every spelling of a non-public address', () => {
    expect(badTargets.filter((text) => typeof parseTarget(text, publicOnly) !== 'string')).toEqual([])
    expect(new Set(badTargets).size).toBeGreaterThan(100)
  })

  test.each([
    ['https://example.com', 'example.com', 443],
    ['http://example.com/hook?a=b', 'example.com', 80],
    ['http://example.com:8080/', 'example.com', 8080],
    ['https://example.com:65535/', 'example.com', 65535],
    ['https://EXAMPLE.com./', 'example.com.', 443],
    ['https://bücher.example/', 'xn--bcher-kva.example', 443],
    ['https://93.184.216.34/', '93.184.216.34', 443],
    ['https://0x5d.0xb8.0xd8.0x22/', '93.184.216.34', 443],
    ['https://[2606:4700:4700::1111]/', '2606:4700:4700::1111', 443],
    ['https://localhost.example.com/', 'localhost.example.com', 443],
    ['https://notlocal/', 'notlocal', 443],
    ['https://example.com/a@b', 'example.com', 443],
  ])('%s is let through, to host %s and port %i', (text, host, port) => {
    expect(parseTarget(text, publicOnly)).toMatchObject({ host, port })
  })

  test('on loopback is allowed only if loopback is configured', () => {
    for (const text of ['http://127.1:99/', 'http://[::1]/', 'http://localhost/', 'http://LOCALHOST./']) {
      expect(parseTarget(text, loopback)).toBeTypeOf('object')
      expect(parseTarget(text, publicOnly)).toBeTypeOf('string')
    }
    expect(parseTarget('http://10.0.0.1/', loopback)).toBe('leads to a private address.')
    expect(parseTarget('http://[::ffff:127.0.0.1]/', loopback)).toBe('leads to an IPv4 address inside of an IPv6 one.')
  })

  test('that is rejected says why', () => {
    expect(parseTarget('http://localhost/', publicOnly)).toBe('leads to a name that is never public.')
    expect(parseTarget('http://a:b@example.com/', publicOnly)).toBe('must hold no user name or password.')
    expect(parseTarget('ftp://example.com/', publicOnly)).toBe('must begin with http:// or https:// and a host.')
  })
})
