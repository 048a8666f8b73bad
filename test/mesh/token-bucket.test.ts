import fc from 'fast-check'
import { expect, test } from 'vitest'
import { TokenBuckets, available, untilOne } from '#mesh/token-bucket.ts'

const minute = 60_000
const rate = (capacity: number, refillMs = minute) => ({ capacity, refillMs })

const steps = fc.array(fc.record({ waitMs: fc.nat(20_000), hits: fc.integer({ min: 1, max: 40 }) }), { minLength: 1, maxLength: 60 })

test('a bucket never gives more than its capacity and what has flowed in', () => {
  fc.assert(
    fc.property(fc.nat(50), steps, (capacity, takes) => {
      const buckets = new TokenBuckets(10)
      let [now, given] = [1000, 0]
      for (const { waitMs, hits } of takes) {
        now += waitMs
        given += buckets.take('a', rate(capacity), now, hits)
        expect(given).toBeLessThanOrEqual(capacity + ((now - 1000) * capacity) / minute + 1e-6)
      }
    }),
  )
})

test('what is refused costs nothing: after any refusals the bucket gives at least what flowed in since it was empty', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 50 }), steps, (capacity, takes) => {
      const buckets = new TokenBuckets(10)
      buckets.take('a', rate(capacity), 0, capacity)
      let [now, given] = [0, 0]
      for (const { waitMs, hits } of takes) {
        // At most one token flows in between two takes, which leave less than one: nothing overflows.
        now += Math.min(waitMs, minute / capacity)
        given += buckets.take('a', rate(capacity), now, hits)
      }
      expect(given).toBe(Math.floor((now * capacity) / minute + 1e-9))
    }),
  )
})

test('the next token comes exactly when untilOne says', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10_000 }), fc.nat(minute), (capacity, sinceMs) => {
      const buckets = new TokenBuckets(1)
      buckets.take('a', rate(capacity), 0, capacity)
      const now = Math.min(sinceMs, minute / capacity / 2)
      const waitMs = untilOne(buckets.fullAt('a'), rate(capacity), now)
      expect(available(buckets.fullAt('a'), rate(capacity), now + waitMs)).toBe(1)
      expect(available(buckets.fullAt('a'), rate(capacity), now + waitMs * 0.99)).toBe(0)
    }),
  )
})

test('an idle bucket is full again after the refill time and no fuller', () => {
  const buckets = new TokenBuckets(10)
  expect(buckets.take('a', rate(5), 0, 9)).toBe(5)
  expect(buckets.take('a', rate(5), minute, 9)).toBe(5)
  expect(buckets.take('a', rate(5), minute * 1000, 9)).toBe(5)
})

test('a bucket of capacity 0 never gives', () => {
  const buckets = new TokenBuckets(10)
  expect(buckets.take('a', rate(0), 0, 1)).toBe(0)
  expect(buckets.take('a', rate(0), minute, 1)).toBe(0)
  expect(untilOne(buckets.fullAt('a'), rate(0), 0)).toBe(minute)
})

test('a lowered limit holds at once, and a raised one too', () => {
  const buckets = new TokenBuckets(10)
  buckets.take('a', rate(100), 0, 100)
  expect(buckets.available('a', rate(10), 30_000)).toBe(5)
  expect(buckets.available('a', rate(1000), 30_000)).toBe(500)
})

test('no more buckets are kept than were asked for, and the one longest untouched gives way', () => {
  const buckets = new TokenBuckets(2)
  for (const key of ['a', 'b', 'a', 'c']) buckets.take(key, rate(5), 0, 1)
  expect(buckets.size).toBe(2)
  expect(['a', 'b', 'c'].map((key) => buckets.available(key, rate(5), 0))).toEqual([3, 5, 4])
})
