import { X509Certificate } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { alternativeNames, isTrustDomain, namedBy } from '#mesh/tls/spiffe.ts'
import { certificateAuthority } from '../../fakes/certificate.ts'

const authority = certificateAuthority('mesh')
/** Node's text of the names of a real certificate. */
const textOf = (uris: readonly string[], dnsNames: readonly string[] = []) =>
  new X509Certificate(authority.issue({ uris, dnsNames }).cert).subjectAltName

describe('a certificate names', () => {
  test.each(['actions', 'envoy', 'a', 'my-service-2', 'x'.repeat(32)])('the service %s by its one SPIFFE ID', (service) => {
    expect(namedBy(textOf([`spiffe://relay/${service}`]), 'relay')).toEqual({ service })
  })

  test('its service whatever names of other types stand beside', () => {
    expect(namedBy(textOf(['spiffe://mesh.example/actions'], ['actions.local', 'spiffe://mesh.example/other']), 'mesh.example')).toEqual({
      service: 'actions',
    })
  })

  test.each([
    ['no names at all', []],
    ['two IDs', ['spiffe://relay/actions', 'spiffe://relay/gateway']],
    ['one ID twice', ['spiffe://relay/actions', 'spiffe://relay/actions']],
    ['an ID and another URI', ['spiffe://relay/actions', 'https://example.com/']],
    ['another trust domain', ['spiffe://other/actions']],
    ['a trust domain that begins like ours', ['spiffe://relay.example/actions']],
    ['a trust domain that ends like ours', ['spiffe://my-relay/actions']],
    ['no service', ['spiffe://relay/']],
    ['no path', ['spiffe://relay']],
    ['two segments', ['spiffe://relay/prod/actions']],
    ['a slash at the end', ['spiffe://relay/actions/']],
    ['dots', ['spiffe://relay/../actions']],
    ['a query', ['spiffe://relay/actions?x=1']],
    ['a fragment', ['spiffe://relay/actions#x']],
    ['a user', ['spiffe://me@relay/actions']],
    ['a port', ['spiffe://relay:1/actions']],
    ['another scheme', ['https://relay/actions']],
    ['capitals', ['SPIFFE://relay/actions']],
    ['capitals in the service', ['spiffe://relay/Actions']],
    ['percent signs', ['spiffe://relay/%61ctions']],
    ['a longer name than a service has', [`spiffe://relay/${'x'.repeat(33)}`]],
    ['a zero byte', ['spiffe://relay/actions\0']],
    ['a line end', ['spiffe://relay/actions\n']],
    ['a second name written into the first', ['spiffe://relay/actions, URI:spiffe://relay/gateway']],
    ['quotes', ['"spiffe://relay/actions"']],
  ])('nobody with %s', (_, uris) => {
    expect(namedBy(textOf(uris), 'relay')).toEqual({ problem: expect.stringMatching(/^has /) as string })
  })

  test('nobody by a DNS name that is written like a URI name', () => {
    for (const name of ['URI:spiffe://relay/actions', 'x, URI:spiffe://relay/actions', 'x", URI:spiffe://relay/actions, DNS:"y'])
      expect(namedBy(textOf([], [name]), 'relay')).toEqual({ problem: 'has 0 URI names where exactly one is wanted' })
  })
})

describe('the names of a certificate', () => {
  const unit = fc.integer({ min: 0, max: 0x7f }).map((code) => String.fromCharCode(code))
  const whole = fc.constantFrom(', ', '"', '\\', '", URI:x', ', URI:spiffe://relay/actions', 'URI:', '\\"', "'", ' ', ',')
  const tricky = fc.oneof(fc.string({ unit, minLength: 1, maxLength: 40 }), whole)

  test('are read as they stand in it, whatever they are', () => {
    fc.assert(
      fc.property(fc.array(tricky, { maxLength: 4 }), fc.array(tricky, { maxLength: 4 }), (uris, dnsNames) => {
        fc.pre(uris.length + dnsNames.length > 0)
        const read = alternativeNames(textOf(uris, dnsNames)!)
        expect(read).toEqual([...uris.map((value) => ({ type: 'URI', value })), ...dnsNames.map((value) => ({ type: 'DNS', value }))])
      }),
    )
  })

  test('are read of any text without an error, and name a service only where the text has its ID', () => {
    const words = ['URI:', 'DNS:', 'IP Address:', 'spiffe://relay/actions', ', ', ',', '"', '\\', '\\u0000', ' ', '\n', '\ud800']
    const piece = fc.constantFrom(...words)
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join('')),
    )
    fc.assert(
      fc.property(text, (given) => {
        const { service } = namedBy(given, 'relay')
        if (service !== undefined) expect(given.split(`spiffe://relay/${service}`).length).toBeGreaterThan(1)
      }),
    )
  })

  test.each([
    ['', []],
    [
      'URI:a, DNS:b',
      [
        { type: 'URI', value: 'a' },
        { type: 'DNS', value: 'b' },
      ],
    ],
    ['IP Address:::1', [{ type: 'IP Address', value: '::1' }]],
    ['DirName:"CN = a, O = b"', [{ type: 'DirName', value: 'CN = a, O = b' }]],
    ['URI:a, ', undefined],
    ['URI:a,DNS:b', undefined],
    ['URI:a, b', undefined],
    ['URI', undefined],
    ['URI:"a', undefined],
    ['URI:"a"b', undefined],
    ['URI:a"b"', undefined],
    ['URI:"\\x"', undefined],
    [' URI:a\n', undefined],
  ])('%j is read wholly or not at all', (text, names) => {
    const read = alternativeNames(text)
    if (names === undefined) expect(read === undefined || namedBy(text, 'relay').service === undefined).toBe(true)
    else expect(read).toEqual(names)
  })

  test('of a hundred thousand characters are read in no time', () => {
    const started = performance.now()
    for (const text of ['URI:"' + '\\'.repeat(100_000), 'URI:' + ' '.repeat(100_000) + '"', 'a '.repeat(50_000)]) alternativeNames(text)
    expect(performance.now() - started).toBeLessThan(500)
  })
})

test('a trust domain is lower case letters, digits, dots, dashes and underscores', () => {
  for (const good of ['relay', 'mesh.example.com', 'a_b-1']) expect(isTrustDomain(good)).toBe(true)
  for (const bad of ['', 'Relay', 'a/b', 'a:1', 'a@b', 'a b', 'ä', 'a\n', 'x'.repeat(256)]) expect(isTrustDomain(bad)).toBe(false)
})
