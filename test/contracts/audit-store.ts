/** What every store of the audit log promises, whatever it is made of: run on each engine by audit-store.<engine>.test.ts. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { AuditEvent } from '#mesh/audit/event.ts'
import type { Entry } from '../../services/access/audit/chain.ts'
import type { AuditStore, EntryFilter, EntryPage, EntryQuery } from '../../services/access/audit/store.ts'
import type { Verdict } from '../../services/access/audit/verify.ts'
import { eventOf, times } from '../services/access/audit/chained.ts'

export interface AuditEngine {
  readonly store: AuditStore
  /** Stores on the same chains. */
  replica(): AuditStore
  verify(): Promise<Verdict>
  close(): Promise<void>
}

export function auditStoreContract(name: string, open: () => Promise<AuditEngine>): void {
  describe(`the audit log in ${name}`, () => {
    let engine: AuditEngine
    let store: AuditStore
    beforeAll(async () => {
      engine = await open()
      store = engine.store
    })
    afterAll(() => engine.close())

    const freshWorkspace = () => `w-${randomUUID()}`
    const page = (workspace: string, over: Partial<EntryQuery> = {}) =>
      store.list({ workspace, filter: {}, order: 'oldest first', limit: 1000, after: undefined, ...over })
    const list = async (workspace: string, filter: EntryFilter = {}) => (await page(workspace, { filter })).entries
    const sequences = (entries: readonly Entry[]) => entries.map(({ sequence }) => sequence)
    const whole = async () => expect((await engine.verify()).findings).toEqual([])

    describe('appending', () => {
      test('returns what was appended, in order, from 1, exactly as it was sent', async () => {
        const workspace = freshWorkspace()
        const actor = 'é "\\{},𝄞 \u2028'
        const odd: Partial<AuditEvent> = { actor, targets: ['run:1', 'preview:2'], outcome: 'failed', count: 0xffffffff }
        const early = { occurredAt: '1970-01-01T00:00:00.000Z', targets: [], actor: '', keyId: '', requestId: '', traceId: '', source: '' }
        const late = { occurredAt: '9999-12-31T23:59:59.999Z', source: '2001:db8::1' }
        const events = [odd, early, late].map((over) => eventOf({ ...over, workspace }))
        const entries = await store.append(events)
        expect(entries).toMatchObject(events)
        expect(sequences(entries)).toEqual([1, 2, 3])
        expect(await list(workspace)).toEqual(entries)
        for (const { recordedAt } of entries) expect(Math.abs(Date.now() - Date.parse(recordedAt))).toBeLessThan(10_000)
        await whole()
      })

      test('appends an event once: sent again, twice in one batch, among others, or for another workspace', async () => {
        const [workspace, other] = [freshWorkspace(), freshWorkspace()]
        const [one, two, three] = [eventOf({ workspace }), eventOf({ workspace }), eventOf({ workspace })]
        expect(sequences(await store.append([one, one, two]))).toEqual([1, 2])
        expect(await store.append([two, one])).toEqual([])
        expect(sequences(await store.append([one, three, two, three]))).toEqual([3])
        expect(await store.append([{ ...one, workspace: other }])).toEqual([])
        expect((await list(workspace)).map(({ eventId }) => eventId)).toEqual([one, two, three].map(({ eventId }) => eventId))
        expect(await list(other)).toEqual([])
        await whole()
      })

      test('keeps a chain for each workspace, also for the one without a name', async () => {
        const [one, two] = [freshWorkspace(), freshWorkspace()]
        const nameless = (await list('')).length
        const entries = await store.append([one, two, '', one, two].map((workspace) => eventOf({ workspace })))
        expect(sequences(entries)).toEqual([1, 1, nameless + 1, 2, 2])
        await whole()
      })

      test('of nothing takes nothing', async () => {
        expect(await store.append([])).toEqual([])
      })
    })

    test('8 that append overlapping batches of several workspaces at once lose none, take none twice, leave no gap', async () => {
      const workspaces = times(5, freshWorkspace)
      const events = times(600, (index) => eventOf({ workspace: workspaces[index % workspaces.length]! }))
      const stores = times(8, () => engine.replica())
      // Each tells two thirds of them, in an order of its own and batches of its own size.
      const told = stores.map(async (each, index) => {
        const own = [...events.slice(index * 75), ...events.slice(0, index * 75)].slice(0, 400)
        if (index % 2 === 1) own.reverse()
        const size = 20 + 7 * index
        let taken = 0
        for (let from = 0; from < own.length; from += size) taken += (await each.append(own.slice(from, from + size))).length
        return taken
      })
      const taken = (await Promise.all(told)).reduce((sum, each) => sum + each)
      expect(taken).toBe(events.length)
      const ids: string[] = []
      for (const workspace of workspaces) {
        const entries = await list(workspace)
        expect(sequences(entries)).toEqual(times(entries.length, (index) => index + 1))
        ids.push(...entries.map(({ eventId }) => eventId))
      }
      expect(ids.toSorted()).toEqual(events.map(({ eventId }) => eventId).toSorted())
      await whole()
    })

    test('one event that several callers send for two workspaces is appended to one of them', async () => {
      const stores = times(4, () => engine.replica())
      for (let round = 0; round < 5; round += 1) {
        const event = eventOf()
        const workspaces = times(4, freshWorkspace)
        const taken = await Promise.all(stores.map((each, index) => each.append([{ ...event, workspace: workspaces[index]! }])))
        expect(taken.flat()).toHaveLength(1)
      }
      await whole()
    })

    describe('listing', () => {
      const workspace = freshWorkspace()
      const hour = (index: number) => `2026-01-31T${String(index).padStart(2, '0')}:00:00.000Z`
      beforeAll(async () => {
        await store.append(
          times(12, (index) =>
            eventOf({
              workspace,
              occurredAt: hour(index),
              action: index % 2 === 0 ? 'actions.preview' : 'actions.execute',
              outcome: index % 3 === 0 ? 'failed' : 'success',
              actor: index < 6 ? 'ann' : 'bob',
              keyId: `key-${index % 4}`,
              targets: [`run:${index}`, `preview:${index % 5}`],
            }),
          ),
        )
        await store.append([eventOf({ actor: 'ann', targets: ['run:1'] })])
      })

      const one = { action: 'actions.execute', outcome: 'success', actor: 'bob', keyId: 'key-3' } as const
      test.each<[string, EntryFilter, number[]]>([
        ['nothing', {}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]],
        ['an action', { action: 'actions.execute' }, [2, 4, 6, 8, 10, 12]],
        ['an outcome', { outcome: 'failed' }, [1, 4, 7, 10]],
        ['an actor', { actor: 'bob' }, [7, 8, 9, 10, 11, 12]],
        ['a key', { keyId: 'key-1' }, [2, 6, 10]],
        ['a target', { target: 'preview:1' }, [2, 7, 12]],
        ['a part of a target', { target: 'preview' }, []],
        ['a beginning, which counts', { from: hour(9) }, [10, 11, 12]],
        ['an end, which does not', { until: hour(2) }, [1, 2]],
        ['a length of time', { from: hour(3), until: hour(5) }, [4, 5]],
        ['everything at once', { ...one, target: 'run:7', from: hour(7), until: hour(8) }, [8]],
        ['what nobody did', { actor: 'eve' }, []],
      ])('filters by %s', async (_, filter, expected) => {
        expect(sequences(await list(workspace, filter))).toEqual(expected)
        const { entries } = await page(workspace, { filter, order: 'newest first' })
        expect(sequences(entries)).toEqual(expected.toReversed())
        for (const each of entries) expect(each.workspace).toBe(workspace)
      })

      const orders = ['oldest first', 'newest first'] as const
      test.each(orders)('continues where the previous page ended, %s, while others append', async (order) => {
        const before = sequences((await page(workspace, { order })).entries)
        const seen: number[] = []
        let after: number | undefined
        do {
          const next: EntryPage = await page(workspace, { order, limit: 5, after })
          seen.push(...sequences(next.entries))
          after = next.next
          // The end of an export is where it is asked for, not where it was begun.
          if (order === 'newest first') await store.append([eventOf({ workspace })])
        } while (after !== undefined)
        expect(seen).toEqual(before)
      })

      test('says that there is more only where there is', async () => {
        const own = freshWorkspace()
        await store.append(times(4, () => eventOf({ workspace: own })))
        expect(await page(own, { limit: 4 })).toMatchObject({ next: undefined })
        expect(await page(own, { limit: 3 })).toMatchObject({ next: 3 })
        expect(await page(own, { limit: 3, after: 3 })).toMatchObject({ next: undefined, entries: [{ sequence: 4 }] })
        expect(await page(own, { after: 4 })).toEqual({ next: undefined, entries: [] })
      })
    })
  })
}
