import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Chain } from '../../../../services/access/audit/chain.ts'
import { retain, retention } from '../../../../services/access/audit/retention.ts'
import { until } from '../../../fixtures/mesh/until.ts'
import { type AuditDatabase, auditDatabase } from './audit-database.ts'
import { chain, eventOf, secret, times, workspace } from './chained.ts'

const dayMs = 86_400_000

describe('retention', () => {
  let log: AuditDatabase
  beforeAll(async () => {
    log = await auditDatabase()
  })
  afterAll(() => log.close())

  /** Entries of so many days' age, by a store whose clock is put back. */
  const record = async (days: number, count: number, of = workspace) => {
    const entries = await log.store.append(times(count, () => eventOf({ workspace: of })))
    // The chain is made anew with the times put back, as if they had been recorded then.
    let previous = entries[0]!.sequence === 1 ? chain.origin(of) : await linkBefore(entries[0]!.sequence, of)
    for (const entry of entries) {
      const moved = chain.next(previous, entry, new Date(Date.parse(entry.recordedAt) - days * dayMs).toISOString())
      const mac = `'\\x${moved.mac.toString('hex')}'`
      await log.tamper(`UPDATE audit_events SET recorded_at = '${moved.recordedAt}', mac = ${mac} WHERE event_id = '${entry.eventId}'`)
      previous = moved
    }
  }
  const linkBefore = (sequence: number, of: string) =>
    log.chains.look(async (view) => ({ sequence: sequence - 1, mac: (await view.macs(of, [sequence - 1])).get(sequence - 1)! }))
  const cut = (over: Partial<Parameters<typeof retain>[0]> = {}) => retain({ chain, cutter: log.cutter, ageMs: 90 * dayMs, ...over })
  const left = async (of = workspace) => {
    const { entries } = await log.store.list({ workspace: of, filter: {}, order: 'oldest first', limit: 100, after: undefined })
    return entries.map(({ sequence }) => sequence)
  }

  beforeEach(async () => {
    await log.tamper('TRUNCATE audit_events, audit_checkpoints')
    await record(100, 5)
    await record(10, 3)
  })

  test('removes older entries, in pieces, and the rest verifies; a second time there is nothing to do', async () => {
    await record(100, 3, 'other')
    expect(await cut({ max: 2 })).toEqual([
      { workspace, removed: 5, broken: undefined },
      { workspace: 'other', removed: 3, broken: undefined },
    ])
    expect(await left()).toEqual([6, 7, 8])
    expect(await log.verify()).toEqual({ findings: [], workspaces: 2, entries: 3, heads: 0 })
    expect(await cut()).toEqual([])
  })

  test('leaves a chain that continues where it was, even if nothing is left of it', async () => {
    await cut({ ageMs: 1 })
    expect(await left()).toEqual([])
    await log.store.append([eventOf()])
    expect(await left()).toEqual([9])
    expect((await log.verify()).findings).toEqual([])
  })

  test('stops at the first entry that is not old, whatever comes after it', async () => {
    await record(100, 2)
    await cut()
    expect(await left()).toEqual([6, 7, 8, 9, 10])
  })

  test('cuts only the named workspace', async () => {
    await record(100, 3, 'other')
    await cut({ workspace: 'other' })
    expect(await left()).toHaveLength(8)
    expect(await left('other')).toEqual([])
  })

  test('while others append, and other replicas cut, keeps every chain whole', async () => {
    const store = log.replica()
    const appending = times(20, () => store.append([eventOf(), eventOf({ workspace: 'other' })]))
    await Promise.all([...appending, cut({ max: 1 }), cut({ max: 1 }), cut({ max: 3 })])
    expect(await left()).toEqual(times(23, (index) => index + 6))
    expect((await log.verify()).findings).toEqual([])
  })

  test.each([
    ['an edited entry', `UPDATE audit_events SET actor = 'eve' WHERE sequence = 3`],
    ['a missing entry', 'DELETE FROM audit_events WHERE sequence = 3'],
  ])('keeps what is evidence: %s', async (_, sql) => {
    await log.tamper(sql)
    const before = await left()
    await record(100, 1, 'other')
    const retained = await cut()
    expect(retained).toMatchObject([
      { workspace, removed: 0 },
      { removed: 1, broken: undefined },
    ])
    expect(retained[0]!.broken?.message).toContain('not intact at sequence 3')
    expect(await left()).toEqual(before)
    expect((await log.verify()).findings).toMatchObject([{ sequence: 3 }])
  })

  test('continues only from a genuine checkpoint, and cuts nothing with another key', async () => {
    expect(await cut({ chain: new Chain(`${secret}.`) })).toMatchObject([{ removed: 0, broken: { name: 'BrokenChain' } }])
    await cut({ max: 4 })
    await log.tamper('UPDATE audit_checkpoints SET seal = sha256(seal) WHERE sequence = 5')
    expect((await log.verify()).findings).toMatchObject([{ fault: 'forged checkpoint', sequence: 5 }])
    expect(await cut({ ageMs: 1 })).toMatchObject([{ removed: 0, broken: { name: 'BrokenChain' } }])
    expect(await left()).toEqual([6, 7, 8])
  })

  test('a removed checkpoint is detected', async () => {
    await cut()
    await log.tamper('DELETE FROM audit_checkpoints')
    expect((await log.verify()).findings).toMatchObject([{ fault: 'deleted', sequence: 1 }])
  })

  test("is nothing that the service's own role can do: nothing is cut", async () => {
    await expect(cut({ cutter: log.chains })).rejects.toMatchObject({ code: '42501' })
    expect(await left()).toHaveLength(8)
    expect((await log.verify()).findings).toEqual([])
  })

  test('of one workspace for a shorter time leaves the others as they are', async () => {
    await record(40, 2, '')
    const lines: Record<string, unknown>[] = []
    const logger = createLogger('access', 'info', { write: (line) => void lines.push(JSON.parse(line)) })
    const periods = [{ workspace: '', ageMs: 30 * dayMs }]
    const loop = retention({ chain, cutter: log.cutter, periods, intervalMs: 10, log: logger })
    loop.start()
    await until('the removal', () => lines.length > 0)
    await loop.stop()
    expect(lines).toMatchObject([{ workspace_id: '', removed: 2 }])
    expect(await left('')).toEqual([])
    expect(await left()).toHaveLength(8)
    expect((await log.verify()).findings).toEqual([])
  })

  test('waits until a day’s worth is old, so that a chain has a checkpoint a day and not one per look', async () => {
    const slackMs = dayMs
    expect(await cut({ ageMs: 99.5 * dayMs, slackMs })).toEqual([])
    expect(await cut({ ageMs: 98.5 * dayMs, slackMs })).toMatchObject([{ removed: 5 }])
  })

  test('runs by itself, and reports what it removed', async () => {
    const lines: Record<string, unknown>[] = []
    const logger = createLogger('access', 'info', { write: (line) => void lines.push(JSON.parse(line)) })
    const loop = retention({ chain, cutter: log.cutter, periods: [{ ageMs: 90 * dayMs }], intervalMs: 10, log: logger })
    loop.start()
    await until('the removal', () => lines.length > 0)
    await loop.stop()
    expect(lines).toMatchObject([{ workspace_id: workspace, removed: 5 }])
    expect(await left()).toEqual([6, 7, 8])
  })
})
