import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type QuotaDecision, QuotaLease, type Verdict } from '../../../gateway/rate-limit/quota-lease.ts'
import { Window, response, minute } from '../windows.ts'

function arrivals(lease: QuotaLease, now: number, count: number): Verdict[] {
  const verdicts: Verdict[] = []
  for (let index = 0; index < count; index += 1) lease.arrive(now, (verdict) => verdicts.push(verdict))
  return verdicts
}

describe('a lease', () => {
  test('asks one question at a time, for all who came meanwhile', () => {
    const lease = new QuotaLease()
    arrivals(lease, 0, 1)
    expect(lease.question(0)).toBe(1)
    const later = arrivals(lease, 1, 5)
    expect(lease.question(1)).toBe(0)
    lease.answered(response(1, { limit: 50 }), 2)
    expect(later).toEqual([])
    expect(lease.question(2)).toBe(5)
    lease.answered(response(5, { limit: 50 }), 3)
    expect(later.map(({ allowed }) => allowed)).toEqual([true, true, true, true, true])
  })

  test('is exact below a limit of 100: nothing is asked for ahead, however many come', () => {
    const lease = new QuotaLease()
    for (let now = 0; now < 5000; now += 5) {
      arrivals(lease, now, 1)
      expect(lease.question(now)).toBe(1)
      lease.answered(response(1, { limit: 99 }), now)
    }
  })

  test('asks ahead by at most 1 % of the limit, renews it before it runs out, and then nobody waits', () => {
    const lease = new QuotaLease()
    let waited = 0
    for (let now = 0; now < 10_000; now += 1) {
      if (arrivals(lease, now, 1).length === 0) waited += 1
      const hits = lease.question(now)
      expect(hits).toBeLessThanOrEqual(1 + 60)
      // The answer comes in the same millisecond, after the question: still nobody waits for it.
      if (hits > 0) lease.answered(response(hits, { limit: 6000, resetMs: minute - now }), now)
    }
    expect(waited).toBeLessThan(20)
  })

  test('asks for less ahead where less is asked of it', () => {
    const lease = new QuotaLease()
    for (let now = 0; now < 10_000; now += 250) {
      arrivals(lease, now, 1)
      const hits = lease.question(now)
      expect(hits).toBeLessThanOrEqual(1 + 4 + 1)
      if (hits > 0) lease.answered(response(hits, { limit: 1_000_000 }), now)
    }
  })

  test('does not use in one window what was granted in another', () => {
    const lease = new QuotaLease()
    arrivals(lease, 0, 100)
    lease.answered(response(lease.question(0), { resetMs: 2000 }), 0)
    arrivals(lease, 500, 1)
    const asked = lease.question(500)
    expect(asked).toBeGreaterThan(1)
    lease.answered(response(asked, { resetMs: 1500 }), 500)
    expect(arrivals(lease, 1999, 1)).toHaveLength(1)
    expect(arrivals(lease, 2000, 1)).toEqual([])
  })

  test('refuses by itself once the window is exhausted, until it ends', () => {
    const lease = new QuotaLease()
    const first = arrivals(lease, 0, 3)
    lease.question(0)
    lease.answered(response(1, { remaining: 0, resetMs: 1000 }), 10)
    expect(first.map(({ allowed }) => allowed)).toEqual([true, false, false])
    expect(arrivals(lease, 999, 1)).toMatchObject([{ allowed: false, remaining: 0, resetMs: 1 }])
    expect(lease.question(999)).toBe(0)
    expect(arrivals(lease, 1000, 1)).toEqual([])
    expect(lease.question(1000)).toBeGreaterThan(0)
  })

  test('drops what it holds of a window that ended while it asked', () => {
    const lease = new QuotaLease()
    arrivals(lease, 0, 1)
    lease.question(0)
    lease.answered(response(1), 0)
    arrivals(lease, 29_000, 100)
    lease.answered(response(lease.question(29_000), { resetMs: 1000 }), 29_000)
    // 6 are held; 3 go, so 3 more are asked for.
    expect(arrivals(lease, 29_100, 3)).toHaveLength(3)
    expect(lease.question(29_100)).toBe(3)
    lease.answered(response(3, { resetMs: minute }), 30_000)
    expect(arrivals(lease, 30_000, 6)).toHaveLength(3)
  })

  test('refuses, with those it asked for in vain, those who came since', () => {
    const lease = new QuotaLease()
    const first = arrivals(lease, 0, 2)
    lease.question(0)
    const since = arrivals(lease, 5, 2)
    lease.answered(response(1, { remaining: 0 }), 10)
    expect([...first, ...since].map(({ allowed }) => allowed)).toEqual([true, false, false, false])
    expect(lease.question(10)).toBe(0)
  })

  test('refuses only those it asked for in vain when the window is over by then, and asks for those who came since', () => {
    const lease = new QuotaLease()
    const first = arrivals(lease, 0, 2)
    lease.question(0)
    const since = arrivals(lease, 5, 2)
    lease.answered(response(1, { limit: 50, remaining: 0, resetMs: 8 }), 10)
    expect(first.map(({ allowed }) => allowed)).toEqual([true, false])
    expect(since).toEqual([])
    expect(lease.question(10)).toBe(2)
    lease.answered(response(2, { limit: 50 }), 12)
    expect(since.map(({ allowed }) => allowed)).toEqual([true, true])
  })

  test('lets everything through where no rule limits it, and asks again after a while', () => {
    const lease = new QuotaLease()
    const first = arrivals(lease, 0, 2)
    lease.question(0)
    lease.answered(response(0, { limited: false }), 0)
    expect(first).toMatchObject([
      { allowed: true, limited: false },
      { allowed: true, limited: false },
    ])
    expect(arrivals(lease, 4999, 1)).toMatchObject([{ allowed: true, limited: false }])
    expect(lease.question(4999)).toBe(0)
    expect(arrivals(lease, 5000, 1)).toEqual([])
    expect(lease.question(5000)).toBe(1)
  })

  test('hands over who waits in order, and keeps what a late answer brings', () => {
    const lease = new QuotaLease()
    arrivals(lease, 0, 3)
    lease.question(0)
    expect(lease.handOver()).toHaveLength(3)
    expect(lease.question(1)).toBe(0)
    lease.answered(response(3), 1)
    expect(arrivals(lease, 2, 4)).toHaveLength(3)
  })
})

type Step = { kind: 'arrive'; count: number } | { kind: 'answer' } | { kind: 'lose' } | { kind: 'wait'; ms: number }
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('arrive' as const), count: fc.integer({ min: 1, max: 30 }) }) },
  { weight: 4, arbitrary: fc.constant({ kind: 'answer' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'lose' as const }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.oneof(fc.nat(50), fc.nat(20_000)) }) },
)

test('whatever happens: never more than was granted, in order of arrival, nobody lost, at most 1 % unused', () => {
  fc.assert(
    fc.property(fc.oneof(fc.nat(99), fc.integer({ min: 100, max: 5000 })), fc.array(step, { maxLength: 120 }), (limit, steps) => {
      const [lease, window] = [new QuotaLease(), new Window(limit)]
      let [now, next, handedOver, decided] = [1_000_000, 0, 0, 0]
      let pending: { hits: number; answer: QuotaDecision } | undefined
      const waiting: number[] = []
      const allowed = new Map<number, number>()

      const ask = () => {
        const hits = lease.question(now)
        if (hits === 0) return
        expect(pending).toBeUndefined()
        expect(hits).toBeLessThanOrEqual(waiting.length + Math.max(0, Math.floor(limit / 100)))
        // The service decides when it is asked; its answer may come late, or never.
        pending = { hits, answer: window.take(hits, now) }
      }
      const arrive = () => {
        const id = next
        next += 1
        waiting.push(id)
        lease.arrive(now, (verdict) => {
          decided += 1
          expect(waiting).toContain(id)
          // Those who are let through go in order: everyone before is decided or was refused.
          if (verdict.allowed) {
            expect(waiting[0]).toBe(id)
            const at = Math.floor(now / minute)
            allowed.set(at, (allowed.get(at) ?? 0) + 1)
          } else expect(verdict.remaining).toBe(0)
          waiting.splice(waiting.indexOf(id), 1)
        })
      }
      const settle = (lost: boolean) => {
        if (pending === undefined) return
        const { answer: said } = pending
        pending = undefined
        if (lost) {
          const left = lease.failed()
          expect(left).toHaveLength(waiting.length)
          handedOver += waiting.splice(0).length
        } else lease.answered(said, now)
        ask()
      }

      for (const each of steps) {
        if (each.kind === 'wait') now += each.ms
        if (each.kind === 'arrive') for (let index = 0; index < each.count; index += 1) arrive()
        if (each.kind === 'answer') settle(false)
        if (each.kind === 'lose') settle(true)
        ask()
        // Nobody waits without a question under way.
        if (waiting.length > 0) expect(pending).toBeDefined()
        expect(decided + handedOver + waiting.length).toBe(next)
      }
      while (pending !== undefined) settle(false)
      expect(waiting).toEqual([])
      const sum = (counts: Map<number, number>) => [...counts.values()].reduce((total, count) => total + count, 0)
      expect(sum(allowed)).toBeLessThanOrEqual(sum(window.granted))
      // Answers that are lost take their grants with them; else each window loses at most what was held ahead when it ended.
      const lossless = !steps.some(({ kind }) => kind === 'lose')
      if (lossless) expect(sum(window.granted) - sum(allowed)).toBeLessThanOrEqual(window.granted.size * Math.floor(limit / 100))
      expect(lease.busy).toBe(false)
    }),
    { numRuns: 500 },
  )
})

test('below a limit of 100 a gateway grants exactly the limit in a window, with answers that take their time', () => {
  fc.assert(
    fc.property(fc.nat(99), fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 30, maxLength: 60 }), (limit, bursts) => {
      const [lease, window] = [new QuotaLease(), new Window(limit)]
      let [now, allowed, arrived] = [minute, 0, 0]
      const under: QuotaDecision[] = []
      const ask = () => {
        const hits = lease.question(now)
        if (hits > 0) under.push(window.take(hits, now))
      }
      for (const burst of bursts) {
        arrived += burst
        for (let index = 0; index < burst; index += 1) lease.arrive(now, (verdict) => (allowed += verdict.allowed ? 1 : 0))
        ask()
        now += 3
        if (burst % 2 === 0)
          while (under.length > 0) {
            lease.answered(under.shift()!, now)
            ask()
          }
      }
      while (under.length > 0) {
        lease.answered(under.shift()!, now)
        ask()
      }
      expect(allowed).toBe(Math.min(limit, arrived))
    }),
  )
})
