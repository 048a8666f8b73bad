/** What a store of claims promises to whoever keeps the runs: claims that nobody uses are found and freed, and refused work is compared. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Engine, byRun, fingerprintOf, freshKey, granted, look, request } from './claim-requests.ts'

export function strandedContract(open: () => Promise<Engine>): void {
  describe('abandoned claims', () => {
    let engine: Engine
    beforeAll(async () => {
      engine = await open()
    })
    afterAll(() => engine.close())

    const expired = async (kind: string, expiredForMs = 0, limit = 10) => engine.store.expired({ kinds: [kind], expiredForMs, limit })
    /** A key of a kind of its own: what else is there is another test's. */
    const keyOf = (kind: string) => ({ ...freshKey(), kind })

    test('are found once their lease expired, the longest expired first, and only those of the kinds asked for', async () => {
      const [first, second, live] = [keyOf('found'), keyOf('found'), keyOf('found')]
      const one = granted(await engine.store.claim(first, request({ leaseMs: 1_000 })))
      await engine.advance(2_000)
      expect(await expired('found')).toEqual([{ key: first, runId: one.runId }])
      const two = granted(await engine.store.claim(second, request({ leaseMs: 1_000 })))
      await engine.store.claim(live, request())
      await engine.advance(2_000)
      expect(await expired('found')).toEqual([
        { key: first, runId: one.runId },
        { key: second, runId: two.runId },
      ])
      expect(await expired('found', 0, 1)).toEqual([{ key: first, runId: one.runId }])
      expect(await expired('found', 3_600_000)).toEqual([])
      expect(await expired('other')).toEqual([])
    })

    test('are freed by their run, whoever holds them, and freeing them twice is not an error', async () => {
      const key = keyOf('freed')
      const { runId } = granted(await engine.store.claim(key, request()))
      await engine.store.abandon(key, request().runId)
      expect(await engine.store.claim(key, look())).toMatchObject({ outcome: 'in_flight', runId })
      await engine.store.abandon(key, runId)
      await engine.store.abandon(key, runId)
      expect(await engine.store.claim(key, look())).toEqual({ outcome: 'absent' })
      // The next one is another's: the old run says nothing of it.
      granted(await engine.store.claim(key, request({ fingerprint: fingerprintOf('other work') })))
      await engine.store.abandon(key, runId)
      expect((await engine.store.claim(key, look())).outcome).toBe('in_flight')
    })

    test('are not freed once they are completed', async () => {
      const key = keyOf('completed')
      const { runId } = granted(await engine.store.claim(key, request()))
      await engine.store.complete(key, byRun(runId))
      await engine.store.abandon(key, runId)
      expect(await engine.store.claim(key, look())).toMatchObject({ outcome: 'completed', runId })
    })

    test('work that may not be done is compared and claims nothing', async () => {
      const key = keyOf('compared')
      const refused = (work: string) => ({ ...look(), compare: fingerprintOf(work) })
      expect(await engine.store.claim(key, refused('one'))).toEqual({ outcome: 'absent' })
      const { runId } = granted(await engine.store.claim(key, request({ fingerprint: fingerprintOf('one'), leaseMs: 1_000 })))
      expect(await engine.store.claim(key, refused('other'))).toEqual({ outcome: 'mismatch', runId })
      // Not even an expired one is taken over.
      await engine.advance(2_000)
      expect(await expired('compared')).toHaveLength(1)
      expect(await engine.store.claim(key, refused('one'))).toMatchObject({ outcome: 'in_flight', runId })
      await engine.store.complete(key, byRun(runId))
      expect(await engine.store.claim(key, refused('one'))).toMatchObject({ outcome: 'completed', runId })
      expect(await engine.store.claim(key, refused('other'))).toEqual({ outcome: 'mismatch', runId })
    })
  })
}
