import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseSource, sourceOf } from '#mesh/grpc/source.ts'

test.each([
  ['127.0.0.1:50051', '127.0.0.1'],
  ['::1:50051', '::1'],
  ['2001:db8::7:443', '2001:db8::7'],
  ['::ffff:10.1.2.3:50051', '10.1.2.3'],
  ['::FFFF:10.1.2.3:50051', '10.1.2.3'],
  ['unknown', undefined],
  ['', undefined],
])('a connection from %s has the address %s', (peer, address) => {
  expect(sourceOf(peer)).toBe(address)
})

test.each([
  ['203.0.113.7', '203.0.113.7'],
  ['::ffff:203.0.113.7', '203.0.113.7'],
  ['2001:db8::7', '2001:db8::7'],
  ['203.0.113.7:80', undefined],
  ['203.0.113.7, 10.0.0.1', undefined],
  ['203.0.113.07', undefined],
  ['::ffff:::1', undefined],
  ['localhost', undefined],
  ['', undefined],
])('%s says the address %s', (text, address) => {
  expect(parseSource(text)).toBe(address)
})

test('every address comes out as itself, also from a connection over IPv6', () => {
  fc.assert(fc.property(fc.ipV4(), (address) => [parseSource(address), sourceOf(`::ffff:${address}:1`)].every((each) => each === address)))
  fc.assert(fc.property(fc.ipV4(), fc.nat(65_535), (address, port) => sourceOf(`${address}:${port}`) === address))
})
