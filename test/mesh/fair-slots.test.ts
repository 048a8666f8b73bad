import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FairSlots, NoSlot, type Release, type SlotLimits } from '#mesh/fair-slots.ts'

const slots = (over: Partial<SlotLimits> = {}) =>
  new FairSlots({ max: 4, maxPerTenant: 2, maxQueued: 100, maxQueuedPerTenant: 50, timeoutMs: 60_000, ...over })

/** Why nothing was got. */
const refusal = (acquiring: Promise<Release>) =>
  acquiring.then(
    () => 'held',
    (error: unknown) => (error instanceof NoSlot ? error.why : error),
  )

test('one tenant never holds more than its share, so others get a slot at once', async () => {
  const shared = slots()
  const [first, second] = [await shared.acquire('a'), await shared.acquire('a')]
  const third = shared.acquire('a')
  expect([shared.held, shared.queued]).toEqual([2, 1])
  await shared.acquire('b')
  first()
  await third
  second()
  expect([shared.held, shared.queued]).toEqual([2, 0])
})

test('waiting tenants get slots in turn, however many requests one of them queued', async () => {
  const shared = slots({ max: 1, maxPerTenant: 1 })
  const order: string[] = []
  const release = await shared.acquire('a')
  const asking = ['a1', 'a2', 'a3', 'b1', 'c1', 'b2'].map(async (who) => {
    const done = await shared.acquire(who[0]!)
    order.push(who)
    done()
  })
  release()
  await Promise.all(asking)
  expect(order).toEqual(['b1', 'c1', 'a1', 'b2', 'a2', 'a3'])
})

test('a full queue, of one tenant or in total, rejects at once', async () => {
  const shared = slots({ max: 1, maxPerTenant: 1, maxQueued: 3, maxQueuedPerTenant: 2 })
  await shared.acquire('a')
  for (const who of ['a', 'a', 'b']) shared.acquire(who).catch(() => undefined)
  expect(await refusal(shared.acquire('c'))).toBe('full')
  const wide = slots({ max: 1, maxPerTenant: 1, maxQueuedPerTenant: 1 })
  await wide.acquire('a')
  wide.acquire('a').catch(() => undefined)
  expect(await refusal(wide.acquire('a'))).toBe('full')
})

test('a wait ends at its timeout, or by its signal, and frees its place', async () => {
  const shared = slots({ max: 1, maxPerTenant: 1, timeoutMs: 30 })
  const release = await shared.acquire('a')
  const stopping = new AbortController()
  const [slow, stopped] = [refusal(shared.acquire('b')), refusal(shared.acquire('c', stopping.signal))]
  stopping.abort()
  expect(await stopped).toBe('stopped')
  expect(await refusal(shared.acquire('c', stopping.signal))).toBe('stopped')
  expect(await slow).toBe('timeout')
  expect([shared.held, shared.queued]).toEqual([1, 0])
  const next = shared.acquire('d')
  release()
  ;(await next)()
  expect([shared.held, shared.queued]).toEqual([0, 0])
})

test('whatever comes and goes, no limit is exceeded, no slot is lost, and no request waits beside a free slot of its own', async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('acquire' as const), who: fc.constantFrom('a', 'b', 'c') }),
    fc.record({ do: fc.constantFrom('release' as const, 'stop' as const), which: fc.nat() }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const shared = slots({ max: 3, maxPerTenant: 2, maxQueued: 8, maxQueuedPerTenant: 4 })
      const held: { who: string; release: Release }[] = []
      const waiting = new Map<AbortController, string>()
      for (const each of steps) {
        if (each.do === 'acquire') {
          const { who } = each
          const control = new AbortController()
          waiting.set(control, who)
          void shared
            .acquire(who, control.signal)
            .then(
              (release) => held.push({ who, release }),
              () => undefined,
            )
            .finally(() => waiting.delete(control))
        } else if (each.do === 'release') held.splice(each.which % (held.length || 1), 1)[0]?.release()
        else [...waiting.keys()][each.which % (waiting.size || 1)]?.abort()
        await new Promise(setImmediate)
        const of = (who: string) => held.filter((one) => one.who === who).length
        expect(shared.held).toBe(held.length)
        expect(shared.queued).toBe(waiting.size)
        expect(held.length).toBeLessThanOrEqual(3)
        for (const who of 'abc') expect(of(who)).toBeLessThanOrEqual(2)
        if (held.length < 3) for (const who of waiting.values()) expect(of(who)).toBe(2)
      }
      while (held.length > 0 || waiting.size > 0) {
        held.shift()?.release()
        await new Promise(setImmediate)
      }
      expect([shared.held, shared.queued]).toEqual([0, 0])
    }),
    { numRuns: 50 },
  )
})
