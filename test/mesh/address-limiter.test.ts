import { expect, test } from 'vitest'
import { AddressLimiter, networkAddressOf, networkOf } from '../../mesh/address-limiter.ts'

test('an address may make its requests of a minute at once, then one at a time', () => {
  let now = 0
  const limiter = new AddressLimiter({ perMinute: 60, now: () => now })
  for (let index = 0; index < 60; index += 1) expect(limiter.take('192.0.2.1')).toBe(0)
  expect(limiter.take('192.0.2.1')).toBe(1000)
  expect(limiter.take('192.0.2.2')).toBe(0)
  now = 1000
  expect(limiter.take('192.0.2.1')).toBe(0)
  expect(limiter.take('192.0.2.1')).toBe(1000)
})

test('to look takes nothing: a limit of failures is taken once something has failed', () => {
  const limiter = new AddressLimiter({ perMinute: 2, now: () => 0 })
  for (let count = 0; count < 10; count += 1) expect(limiter.look('192.0.2.1')).toBe(0)
  for (let count = 0; count < 2; count += 1) expect(limiter.take('192.0.2.1')).toBe(0)
  expect(limiter.look('192.0.2.1')).toBe(30_000)
})

test.each([
  ['192.0.2.1', '192.0.2.1'],
  ['::ffff:192.0.2.1', '192.0.2.1'],
  ['2001:DB8:1:2:3:4:5:6', '2001:db8:1:2::'],
  ['2001:db8::1', '2001:db8::'],
  ['others', 'others'],
])('the network of %s is written %s', (address, network) => expect(networkAddressOf(address)).toBe(network))

test.each([
  ['two addresses of one /64 are one', '2001:db8:1:2::1', '2001:db8:1:2:ffff:ffff:ffff:ffff', true],
  ['two /64 are two', '2001:db8:1:2::1', '2001:db8:1:3::1', false],
  ['spellings of one address are one', '2001:DB8:0:0:0:0:0:1', '2001:db8::1', true],
  ['an IPv4-mapped address is its IPv4 address', '::ffff:192.0.2.1', '192.0.2.1', true],
  ['two IPv4-mapped addresses are two', '::ffff:192.0.2.1', '::ffff:192.0.2.2', false],
  ['what is no address is itself', 'unix:', 'unix:/tmp', false],
])('%s', (_, one, other, same) => expect(networkOf(one) === networkOf(other)).toBe(same))

test('only so many addresses are remembered', () => {
  const limiter = new AddressLimiter({ perMinute: 1, max: 2, now: () => 0 })
  expect(['a', 'b', 'c', 'a', 'c'].map((address) => limiter.take(address) === 0)).toEqual([true, true, true, true, false])
})
