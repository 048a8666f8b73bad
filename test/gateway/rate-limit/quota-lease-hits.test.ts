import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type QuotaDecision, QuotaLease, type Verdict } from '../../../gateway/rate-limit/quota-lease.ts'
import { Window, response, minute } from '../windows.ts'

describe('a request that counts as several', () => {
  const arrive = (lease: QuotaLease, now: number, hits: number): Verdict[] => {
    const verdicts: Verdict[] = []
    lease.arrive(now, (verdict) => verdicts.push(verdict), hits)
    return verdicts
  }

  test('is asked for with all of them, and takes them of what is held', () => {
    const lease = new QuotaLease()
    const large = arrive(lease, 0, 17)
    const small = arrive(lease, 0, 1)
    expect(lease.question(0)).toBe(18)
    lease.answered(response(18, { limit: 50 }), 1)
    expect([large, small].map(([verdict]) => verdict?.allowed)).toEqual([true, true])
  })

  test('is refused where the window has not enough for it, and what it has is for those who take less', () => {
    const lease = new QuotaLease()
    const large = arrive(lease, 0, 17)
    const small = arrive(lease, 0, 1)
    expect(lease.question(0)).toBe(18)
    lease.answered(response(9, { limit: 50, remaining: 0 }), 1)
    expect([large, small].map(([verdict]) => verdict?.allowed)).toEqual([false, true])
    expect(arrive(lease, 2, 17)).toMatchObject([{ allowed: false }])
    for (let index = 0; index < 8; index += 1) expect(arrive(lease, 2, 1)).toMatchObject([{ allowed: true, source: 'lease' }])
    expect(arrive(lease, 2, 1)).toMatchObject([{ allowed: false }])
  })

  test('takes the whole limit where it counts for more than that', () => {
    const [lease, window] = [new QuotaLease(), new Window(10)]
    const first = arrive(lease, 0, 17)
    lease.answered(window.take(lease.question(0), 0), 0)
    expect(first).toMatchObject([{ allowed: true, remaining: 0 }])
    expect(arrive(lease, 1, 17)).toMatchObject([{ allowed: false }])
    const next = arrive(lease, minute, 17)
    const hits = lease.question(minute)
    expect(hits).toBe(10)
    lease.answered(window.take(hits, minute), minute)
    expect(next).toMatchObject([{ allowed: true }])
  })

  test('whatever comes: everybody is answered once, and never more is taken than was granted', () => {
    const step = fc.oneof(
      fc.record({ hits: fc.integer({ min: 1, max: 17 }) }),
      fc.record({ ms: fc.nat(20_000) }),
      fc.constant({ settle: true }),
    )
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2000 }), fc.array(step, { maxLength: 80 }), (limit, steps) => {
        const [lease, window] = [new QuotaLease(), new Window(limit)]
        let [now, taken, asked, told] = [minute, 0, 0, 0]
        let under: QuotaDecision | undefined
        const ask = () => {
          const hits = under === undefined ? lease.question(now) : 0
          if (hits > 0) under = window.take(hits, now)
        }
        const settle = () => {
          const said = under
          under = undefined
          if (said !== undefined) lease.answered(said, now)
          ask()
        }
        for (const each of steps) {
          if ('ms' in each) now += each.ms
          else if ('settle' in each) settle()
          else {
            asked += 1
            lease.arrive(
              now,
              ({ allowed }) => {
                told += 1
                // Least, where it counts for more than the limit: what the lease took of it then.
                if (allowed) taken += Math.min(each.hits, limit)
              },
              each.hits,
            )
          }
          ask()
        }
        for (let round = 0; round < 100 && under !== undefined; round += 1) settle()
        expect(told).toBe(asked)
        expect(taken).toBeLessThanOrEqual([...window.granted.values()].reduce((sum, count) => sum + count, 0))
      }),
      { numRuns: 500 },
    )
  })
})
