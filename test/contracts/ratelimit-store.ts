/**
 * What every engine of the rate limits promises. They differ in one thing, which is not promised: when there is room again. A window gives
 * all of it back at once when it ends; a bucket fills evenly. So where time must not matter the windows here are days long.
 */
import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import type { Counter, RateLimitStore, Source } from '../../services/ratelimit/store.ts'
import { counterKey } from '../../services/ratelimit/window.ts'

/** Long enough that no window ends and no token flows while a test runs, short of one run in a million. */
const long = 1000 * 86_400_000

let counted = 0

export function rateLimitStoreContract(parts: { store: () => RateLimitStore; source: Source; prefix: () => string }): void {
  const counter = (limit: number, windowMs = long): Counter => {
    counted += 1
    return { key: counterKey(`${parts.prefix()}contract`, [{ key: 'n', value: String(counted) }]), limit, windowMs }
  }
  const take = (counters: Counter[], hits: number) => parts.store().take(counters, hits)

  describe('every rate limit store', () => {
    test('grants up to the limit, partly at the edge, then nothing', async () => {
      const one = counter(10)
      expect((await take([one], 4)).granted).toBe(4)
      expect((await take([one], 4)).granted).toBe(4)
      expect((await take([one], 4)).granted).toBe(2)
      expect((await take([one], 4)).granted).toBe(0)
      expect((await take([one], 1)).granted).toBe(0)
    })

    test('reports what is left, when there is more, and where it decided', async () => {
      const one = counter(3)
      const first = await take([one], 2)
      expect(first).toMatchObject({ source: parts.source, granted: 2, capacities: [{ granted: 2, remaining: 1 }] })
      const second = await take([one], 2)
      expect(second.capacities[0]).toMatchObject({ granted: 1, remaining: 0 })
      for (const { capacities } of [first, second]) {
        expect(capacities[0]!.resetMs).toBeGreaterThan(0)
        expect(capacities[0]!.resetMs).toBeLessThanOrEqual(long)
        expect(Number.isInteger(capacities[0]!.resetMs)).toBe(true)
      }
    })

    test('takes the same number from every counter, as many as the fullest has room for', async () => {
      const [wide, narrow] = [counter(10), counter(3)]
      const taken = await take([wide, narrow], 5)
      expect(taken.granted).toBe(3)
      expect(taken.capacities).toMatchObject([
        { granted: 5, remaining: 7 },
        { granted: 3, remaining: 0 },
      ])
      // What one refused the other did not lose.
      expect((await take([wide, narrow], 1)).capacities).toMatchObject([
        { granted: 1, remaining: 7 },
        { granted: 0, remaining: 0 },
      ])
      expect((await take([wide], 99)).granted).toBe(7)
    })

    test('a limit of 0 grants nothing', async () => {
      const none = counter(0)
      const taken = await take([none], 1)
      expect(taken).toMatchObject({ granted: 0, capacities: [{ granted: 0, remaining: 0 }] })
      expect(taken.capacities[0]!.resetMs).toBeGreaterThan(0)
    })

    test('of many at once exactly the limit is granted', async () => {
      const [one, other] = [counter(30), counter(1000)]
      const taken = await Promise.all(Array.from({ length: 100 }, () => take([one, other], 1)))
      expect(taken.reduce((sum, { granted }) => sum + granted, 0)).toBe(30)
      expect((await take([other], 1)).capacities[0]!.remaining).toBe(1000 - 31)
    })

    test('whatever is taken, in whatever order, each counter gives its limit and no more', async () => {
      const one = fc.record({ which: fc.subarray([0, 1, 2], { minLength: 1 }), hits: fc.integer({ min: 1, max: 12 }) })
      const takes = fc.array(one, { maxLength: 25 })
      await fc.assert(
        fc.asyncProperty(fc.tuple(fc.nat(20), fc.nat(20), fc.nat(20)), takes, async (limits, requests) => {
          const counters = limits.map((limit) => counter(limit))
          const left = [...limits]
          for (const { which, hits } of requests) {
            const { granted, capacities } = await take(
              which.map((index) => counters[index]!),
              hits,
            )
            expect(capacities.map((room) => room.granted)).toEqual(which.map((index) => Math.min(hits, left[index]!)))
            expect(granted).toBe(Math.min(hits, ...which.map((index) => left[index]!)))
            for (const index of which) left[index]! -= granted
            expect(capacities.map((room) => room.remaining)).toEqual(which.map((index) => left[index]!))
          }
        }),
        { numRuns: 60 },
      )
    })

    test('an exhausted counter gives again by the time it names', async () => {
      const short = counter(2, 400)
      let refused = await take([short], 2)
      while (refused.granted > 0) refused = await take([short], 2)
      const [refusedAt, resetMs] = [performance.now(), refused.capacities[0]!.resetMs]
      expect(resetMs).toBeLessThanOrEqual(400)
      await vi.waitFor(async () => expect((await take([short], 1)).granted).toBe(1), { interval: 5, timeout: 5000 })
      // Not before it is due; how much later is for the machine to say.
      expect(performance.now() - refusedAt).toBeGreaterThanOrEqual(resetMs - 10)
    })
  })
}
