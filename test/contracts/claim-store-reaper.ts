/** What a store of claims promises of the reaper's work; part of claim-store.ts. Each test has a store of its own. */
import { describe, expect, test } from 'vitest'
import { type Engine, completion, freshKey, granted, hourMs, leaseMs, look, request, retentionMs, times } from './claim-requests.ts'

export function reaperContract(open: () => Promise<Engine>): void {
  describe('the reaper', () => {
    test('removes what no longer answers, in bites, and never what still does or is in flight', async () => {
      const kept = await open()
      try {
        const [old, recent, inFlight] = [times(5, () => freshKey()), freshKey(), freshKey()]
        const held = granted(await kept.store.claim(inFlight, request()))
        for (const key of old) await kept.store.complete(key, completion(granted(await kept.store.claim(key, request()))))
        await kept.advance(retentionMs - hourMs)
        await kept.store.complete(recent, completion(granted(await kept.store.claim(recent, request()))))
        expect(await kept.store.reap(100)).toBe(0)
        await kept.advance(hourMs)
        expect(await kept.store.reap(3)).toBe(3)
        expect(await kept.store.reap(3)).toBe(2)
        expect(await kept.store.reap(3)).toBe(0)
        expect((await kept.store.claim(recent, look())).outcome).toBe('completed')
        // Years after its lease ran out, too: what became of that work is not known.
        await kept.advance(5 * 365 * 24 * hourMs)
        expect(await kept.store.reap(100)).toBe(1)
        expect(await kept.size()).toBe(1)
        expect(await kept.store.claim(inFlight, request())).toMatchObject({ outcome: 'granted', takenOver: true, runId: held.runId })
      } finally {
        await kept.close()
      }
    })

    test('several at once remove each claim once', async () => {
      const kept = await open()
      try {
        const keys = times(40, () => freshKey())
        await Promise.all(keys.map(async (key) => kept.store.complete(key, completion(granted(await kept.store.claim(key, request()))))))
        await kept.advance(retentionMs)
        const removed = await Promise.all(times(4, () => kept.store.reap(100)))
        expect(removed.reduce((sum, each) => sum + each, 0) + (await kept.store.reap(100))).toBe(40)
        expect(await kept.size()).toBe(0)
      } finally {
        await kept.close()
      }
    })

    test('counts the leases that ran out and were not taken over', async () => {
      const kept = await open()
      try {
        expect(await kept.store.expiredClaims()).toEqual({ count: 0, oldestMs: 0 })
        const keys = times(3, () => freshKey())
        for (const key of keys) await kept.store.claim(key, request())
        await kept.advance(leaseMs + 60_000)
        await kept.store.claim(keys[0]!, request())
        await kept.store.claim(freshKey(), request())
        const { count, oldestMs } = await kept.store.expiredClaims()
        expect(count).toBe(2)
        expect(oldestMs).toBeGreaterThanOrEqual(60_000)
        expect(oldestMs).toBeLessThan(70_000)
      } finally {
        await kept.close()
      }
    })
  })
}
