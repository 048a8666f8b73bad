import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { auditEvent } from '#mesh/audit/event.ts'
import { Secret } from '#mesh/config.ts'
import type { PageEnd } from '#mesh/page-token.ts'
import { Database } from '#mesh/postgres/database.ts'
import { canonicalBytes } from '../../../services/actions/canonical.ts'
import type { RunReader } from '../../../services/actions/run-reader.ts'
import { postgresStore } from '../../../services/actions/store.postgres.ts'
import { postgresRunReader } from '../../../services/actions/store.runs.postgres.ts'
import type { Begin, Store } from '../../../services/actions/store.ts'
import { type FreshDatabase, freshDatabase } from '../../setup/database.ts'
import { askerOf } from './stage.ts'

const params = canonicalBytes({ url: 'https://example.com/', body: { b: 1, a: 'é' } })
let fresh: FreshDatabase
let database: Database
let store: Store

beforeAll(async () => {
  fresh = await freshDatabase('services/actions/migrations')
  database = new Database({ url: new Secret(fresh.url), log: pino({ level: 'silent' }) })
  store = postgresStore(database)
})
afterAll(async () => {
  await database?.close()
  await fresh?.drop()
})

const event = () => auditEvent('actions', askerOf(), { action: 'actions.test', outcome: 'success' })

async function preview(over: { ttlMs?: number; workspace?: string; actor?: string } = {}): Promise<string> {
  const previewId = randomUUID()
  await store.addPreview({
    previewId,
    workspace: over.workspace ?? 'acme',
    actor: over.actor ?? 'ada',
    action: 'ledger.add',
    provider: 'independent',
    params,
    summary: 'Add',
    warnings: ['careful'],
    connectionId: undefined,
    ttlMs: over.ttlMs ?? 60_000,
    event: event(),
  })
  return previewId
}

const beginOf = (previewId: string, over: Partial<Begin> = {}): Begin => ({
  runId: randomUUID(),
  spanId: 'b7ad6b7169203331',
  attemptId: randomUUID(),
  previewId,
  key: { workspace: 'acme', kind: 'client', key: 'k' },
  leaseMs: 60_000,
  asker: askerOf(),
  ...over,
})

async function begun(over: Partial<Begin> = {}) {
  const result = await store.begin(beginOf(await preview(), over))
  if (result.outcome !== 'begun') throw new Error(`expected a run, got ${result.outcome}`)
  return result.run
}

describe('previews', () => {
  test('a preview is found by its workspace and actor alone, with the very bytes that were stored', async () => {
    const id = await preview()
    expect((await store.findPreview(id, 'acme', 'ada'))?.params).toEqual(params)
    expect(await store.findPreview(id, 'other', 'ada')).toBeUndefined()
    expect(await store.findPreview(id, 'acme', 'eve')).toBeUndefined()
  })

  test('a preview expires by the database clock', async () => {
    const id = await preview({ ttlMs: -1 })
    expect(await store.findPreview(id, 'acme', 'ada')).toBeUndefined()
  })

  test('an id that is no UUID is not found and not an error', async () => {
    for (const id of ['expired-or-invalid', '', "'; DROP TABLE previews; --", 'x'.repeat(128)]) {
      expect(await store.findPreview(id, 'acme', 'ada')).toBeUndefined()
    }
  })

  test('only previews that expired long enough ago are deleted', async () => {
    const [old, recent, live] = [await preview({ ttlMs: -60_000 }), await preview({ ttlMs: -1000 }), await preview()]
    expect(await store.deletePreviews(30_000, 100)).toBeGreaterThanOrEqual(1)
    const { rows } = await database.pool.query('SELECT preview_id FROM previews WHERE preview_id = ANY ($1)', [[old, recent, live]])
    expect(rows.map((row) => row.preview_id as string).sort()).toEqual([recent, live].sort())
  })
})

describe('begin', () => {
  test('copies the previewed bytes into the run and consumes the preview', async () => {
    const id = await preview()
    const result = await store.begin(beginOf(id))
    expect(result).toMatchObject({ outcome: 'begun', run: { status: 'executing', epoch: 1, previewId: id, params } })
    const { rows } = await database.pool.query('SELECT consumed_at FROM previews WHERE preview_id = $1', [id])
    expect(rows[0].consumed_at).not.toBeNull()
  })

  test('of many attempts on one preview exactly one begins, and the others learn of its run', async () => {
    const id = await preview()
    const results = await Promise.all(Array.from({ length: 20 }, () => store.begin(beginOf(id))))
    const winners = results.filter((each) => each.outcome === 'begun')
    expect(winners).toHaveLength(1)
    const winner = winners[0]!
    for (const each of results) {
      if (each === winner || !('run' in winner)) continue
      expect(each).toMatchObject({ outcome: 'preview-taken', run: { runId: winner.run.runId } })
    }
  })

  test('repeated by the same attempt it finds its own row and has begun', async () => {
    const ask = beginOf(await preview())
    const [first, again] = [await store.begin(ask), await store.begin(ask)]
    expect([first.outcome, again.outcome]).toEqual(['begun', 'begun'])
  })

  test('repeated by the same attempt after somebody took the run over, it has not begun', async () => {
    const ask = beginOf(await preview(), { leaseMs: -1000 })
    await store.begin(ask)
    await store.takeLostRuns({ limit: 100, leaseMs: 60_000, graceMs: 0, except: [] })
    expect(await store.begin(ask)).toMatchObject({ outcome: 'run-exists', run: { epoch: 2 } })
  })

  test('repeated by the same attempt after its lease ran out, it has not begun: the reconciler may be on its way', async () => {
    const ask = beginOf(await preview(), { leaseMs: -1 })
    await store.begin(ask)
    expect((await store.begin(ask)).outcome).toBe('run-exists')
  })

  test('another attempt with the same run id learns of that run', async () => {
    const first = await begun()
    expect(await store.begin(beginOf(await preview(), { runId: first.runId }))).toMatchObject({ outcome: 'run-exists', run: { runId: first.runId } })
  })

  test('a preview of another workspace cannot be begun', async () => {
    const id = await preview({ workspace: 'other' })
    expect((await store.begin(beginOf(id))).outcome).toBe('preview-gone')
  })
})

describe('a run under way', () => {
  test('is written to only by its current epoch', async () => {
    const run = await begun({ leaseMs: -1000 })
    const taken = (await store.takeLostRuns({ limit: 100, leaseMs: 60_000, graceMs: 0, except: [] })).find((each) => each.runId === run.runId)
    expect(taken?.epoch).toBe(2)
    const end = { runId: run.runId, status: 'success', tellAfterMs: 0, event: event() } as const
    expect(await store.holdRun(run.runId, 1, 1000)).toBe(false)
    expect(await store.recordPoint(run.runId, 1, { draft: 'late' })).toBe(false)
    expect(await store.endRun({ ...end, epoch: 1 })).toBeUndefined()
    expect(await store.recordPoint(run.runId, 2, { draft: 'd1' })).toBe(true)
    expect(await store.endRun({ ...end, epoch: 2, result: '{"ok":true}' })).toMatchObject({ status: 'success', result: { ok: true }, recovery: { draft: 'd1' } })
  })

  test('ends once: a second end changes nothing', async () => {
    const run = await begun()
    const end = { runId: run.runId, epoch: 1, tellAfterMs: 60_000, event: event() }
    await store.endRun({ ...end, status: 'failed', errorReason: 'X', error: 'X: no' })
    expect(await store.endRun({ ...end, status: 'success' })).toBeUndefined()
    expect(await store.findRun(run.runId)).toMatchObject({ status: 'failed', error: 'X: no', errorReason: 'X' })
  })

  test('is not taken while its lease holds, within the grace, or from its own process', async () => {
    const [held, graced, own] = [await begun(), await begun({ leaseMs: -100 }), await begun({ leaseMs: -60_000 })]
    const taken = await store.takeLostRuns({ limit: 100, leaseMs: 60_000, graceMs: 30_000, except: [own.runId] })
    const ids = taken.map((run) => run.runId)
    for (const run of [held, graced, own]) expect(ids).not.toContain(run.runId)
  })

  test('is taken by one taker however many look', async () => {
    const run = await begun({ leaseMs: -120_000 })
    const takers = await Promise.all(Array.from({ length: 8 }, () => store.takeLostRuns({ limit: 100, leaseMs: 60_000, graceMs: 60_000, except: [] })))
    expect(takers.flat().filter((each) => each.runId === run.runId)).toHaveLength(1)
  })

  test('is passed over, not waited for, while another taker is at it', async () => {
    const run = await begun({ leaseMs: -120_000 })
    const other = await database.pool.connect()
    try {
      await other.query('BEGIN')
      await other.query('SELECT 1 FROM runs WHERE run_id = $1 FOR UPDATE', [run.runId])
      const taken = await store.takeLostRuns({ limit: 100, leaseMs: 60_000, graceMs: 60_000, except: [] })
      expect(taken.map((each) => each.runId)).not.toContain(run.runId)
    } finally {
      await other.query('ROLLBACK')
      other.release()
    }
  })

  test('keeps results that hold any text a receiver may send', async () => {
    const run = await begun()
    const result = { response: 'nul \u0000, quote ", \u{1F600}, \u2028' }
    await store.endRun({ runId: run.runId, epoch: 1, status: 'success', result: JSON.stringify(result), tellAfterMs: 60_000, event: event() })
    expect((await store.findRun(run.runId))?.result).toEqual(result)
  })
})

describe('the outbox', () => {
  test('has a row for every end, due after the first telling had its time, and until it is told', async () => {
    const [soon, later] = [await begun(), await begun()]
    for (const [run, tellAfterMs] of [[soon, -1], [later, 60_000]] as const) {
      await store.endRun({ runId: run.runId, epoch: 1, status: 'success', tellAfterMs, event: event() })
    }
    const due = await store.takeUntold({ limit: 100, retryMs: 60_000 })
    expect(due.find((each) => each.runId === soon.runId)).toMatchObject({ key: { workspace: 'acme', kind: 'client', key: 'k' }, attempts: 1 })
    expect(due.some((each) => each.runId === later.runId)).toBe(false)
    // Taken: not due again before the retry.
    expect((await store.takeUntold({ limit: 100, retryMs: 60_000 })).some((each) => each.runId === soon.runId)).toBe(false)
    const before = (await store.untold()).count
    await store.told([soon.runId, later.runId])
    expect((await store.untold()).count).toBe(before - 2)
  })
})

describe('listing', () => {
  test('pages newest first, without gaps or repeats, within the workspace', async () => {
    const workspace = `w-${randomUUID()}`
    const made: string[] = []
    for (let index = 0; index < 7; index += 1) {
      const id = await preview({ workspace })
      const result = await store.begin(beginOf(id, { key: { workspace, kind: 'client', key: `k${index}` } }))
      if (result.outcome === 'begun') made.unshift(result.run.runId)
    }
    const seen: string[] = []
    let after: PageEnd | undefined
    do {
      const page: Awaited<ReturnType<RunReader['list']>> = await postgresRunReader(database).list({ workspace, status: undefined, limit: 3, after })
      seen.push(...page.runs.map((run) => run.runId))
      after = page.next
    } while (after !== undefined)
    expect(seen).toEqual(made)
    expect((await postgresRunReader(database).list({ workspace, status: 'success', limit: 10, after: undefined })).runs).toEqual([])
  })
})
