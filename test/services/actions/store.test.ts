import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { PageEnd } from '#mesh/page-token.ts'
import type { RunReader } from '../../../services/actions/runs/run-reader.ts'
import { postgresRunReader } from '../../../services/actions/store.runs.postgres.ts'
import { StoreStage, beginOf, event, params } from './store-harness.ts'

const harness = new StoreStage()

describe('previews', () => {
  test('a preview is found only by its workspace, with its owner and exactly the stored bytes', async () => {
    const id = await harness.preview()
    expect(await harness.store.findPreview(id, 'acme')).toMatchObject({ params, actor: 'ada', expired: false })
    expect(await harness.store.findPreview(id, 'other')).toBeUndefined()
  })

  test('a preview expires by the database clock', async () => {
    const id = await harness.preview({ ttlMs: -1 })
    expect((await harness.store.findPreview(id, 'acme'))?.expired).toBe(true)
  })

  test('an id that is not a UUID is not found, which is not an error', async () => {
    for (const id of ['expired-or-invalid', '', "'; DROP TABLE previews; --", 'x'.repeat(128)]) {
      expect(await harness.store.findPreview(id, 'acme')).toBeUndefined()
    }
  })

  test('only previews that expired long enough ago are deleted', async () => {
    const [old, recent, live] = [
      await harness.preview({ ttlMs: -60_000 }),
      await harness.preview({ ttlMs: -1000 }),
      await harness.preview(),
    ]
    expect(await harness.store.deletePreviews(30_000, 100)).toBeGreaterThanOrEqual(1)
    const { rows } = await harness.database.pool.query('SELECT preview_id FROM previews WHERE preview_id = ANY ($1)', [[old, recent, live]])
    expect(rows.map((row) => row.preview_id as string).sort()).toEqual([recent, live].sort())
  })
})

describe('begin', () => {
  test('copies the previewed bytes into the run and consumes the preview', async () => {
    const id = await harness.preview()
    const result = await harness.store.begin(beginOf(id))
    expect(result).toMatchObject({ outcome: 'begun', run: { status: 'executing', epoch: 1, previewId: id, params } })
    const { rows } = await harness.database.pool.query('SELECT consumed_at FROM previews WHERE preview_id = $1', [id])
    expect(rows[0].consumed_at).not.toBeNull()
  })

  test('of many attempts on one preview exactly one begins, and the others learn of its run', async () => {
    const id = await harness.preview()
    const results = await Promise.all(Array.from({ length: 20 }, () => harness.store.begin(beginOf(id))))
    const winners = results.filter((each) => each.outcome === 'begun')
    expect(winners).toHaveLength(1)
    const winner = winners[0]!
    for (const each of results) {
      if (each === winner || !('run' in winner)) continue
      expect(each).toMatchObject({ outcome: 'preview-taken', run: { runId: winner.run.runId } })
    }
  })

  test('repeated by the same attempt it finds its own row and has begun', async () => {
    const ask = beginOf(await harness.preview())
    const [first, again] = [await harness.store.begin(ask), await harness.store.begin(ask)]
    expect([first.outcome, again.outcome]).toEqual(['begun', 'begun'])
  })

  test('repeated by the same attempt after a takeover, it has not begun', async () => {
    const ask = beginOf(await harness.preview(), { leaseMs: -1000 })
    await harness.store.begin(ask)
    await harness.claimExpired()
    expect(await harness.store.begin(ask)).toMatchObject({ outcome: 'run-exists', run: { epoch: 2 } })
  })

  test('repeated by the same attempt after its lease expired, it has not begun: the reconciler may be at work', async () => {
    const ask = beginOf(await harness.preview(), { leaseMs: -1 })
    await harness.store.begin(ask)
    expect((await harness.store.begin(ask)).outcome).toBe('run-exists')
  })

  test('another attempt with the same run id learns of that run', async () => {
    const first = await harness.begun()
    expect(await harness.store.begin(beginOf(await harness.preview(), { runId: first.runId }))).toMatchObject({
      outcome: 'run-exists',
      run: { runId: first.runId },
    })
  })

  test('a preview of another workspace cannot be begun', async () => {
    const id = await harness.preview({ workspace: 'other' })
    expect((await harness.store.begin(beginOf(id))).outcome).toBe('preview-gone')
  })
})

describe('a run in progress', () => {
  test('is written only by its current epoch', async () => {
    const run = await harness.begun({ leaseMs: -1000 })
    const taken = (await harness.claimExpired()).find((each) => each.runId === run.runId)
    expect(taken?.epoch).toBe(2)
    const end = { runId: run.runId, status: 'success', notifyAfterMs: 0, acted: true, event: event() } as const
    expect(await harness.store.renewLease(run.runId, 1, 1000)).toBe(false)
    expect(await harness.store.recordPoint(run.runId, 1, { draft: 'late' })).toBe(false)
    expect(await harness.store.endRun({ ...end, epoch: 1 })).toBeUndefined()
    expect(await harness.store.recordPoint(run.runId, 2, { draft: 'd1' })).toBe(true)
    expect(await harness.store.endRun({ ...end, epoch: 2, result: '{"ok":true}' })).toMatchObject({
      status: 'success',
      result: { ok: true },
      recovery: { draft: 'd1' },
    })
  })

  test('ends once: a second end changes nothing', async () => {
    const run = await harness.begun()
    const end = { runId: run.runId, epoch: 1, notifyAfterMs: 60_000, acted: true, event: event() }
    await harness.store.endRun({ ...end, status: 'failed', errorReason: 'X', error: 'X: no' })
    expect(await harness.store.endRun({ ...end, status: 'success' })).toBeUndefined()
    expect(await harness.store.findRun(run.runId)).toMatchObject({ status: 'failed', error: 'X: no', errorReason: 'X' })
  })

  test('is not taken over while its lease is valid, or by its own process', async () => {
    const [held, own] = [await harness.begun(), await harness.begun({ leaseMs: -60_000 })]
    const taken = await harness.store.claimExpiredRuns({ limit: 100, leaseMs: 60_000, gapMs: 20_000, except: [own.runId] })
    const ids = taken.map((run) => run.runId)
    for (const run of [held, own]) expect(ids).not.toContain(run.runId)
  })

  test('is taken over by one process, however many look', async () => {
    const run = await harness.begun({ leaseMs: -120_000 })
    const takers = await Promise.all(Array.from({ length: 8 }, () => harness.claimExpired()))
    expect(takers.flat().filter((each) => each.runId === run.runId)).toHaveLength(1)
  })

  test('is skipped, not waited for, while another process takes it over', async () => {
    const run = await harness.begun({ leaseMs: -120_000 })
    const other = await harness.database.pool.connect()
    try {
      await other.query('BEGIN')
      await other.query('SELECT 1 FROM runs WHERE run_id = $1 FOR UPDATE', [run.runId])
      const taken = await harness.claimExpired()
      expect(taken.map((each) => each.runId)).not.toContain(run.runId)
    } finally {
      await other.query('ROLLBACK')
      other.release()
    }
  })

  test('keeps results with any text that a receiver may send', async () => {
    const run = await harness.begun()
    const result = { response: 'nul \u0000, quote ", \u{1F600}, \u2028' }
    await harness.store.endRun({
      runId: run.runId,
      epoch: 1,
      status: 'success',
      result: JSON.stringify(result),
      notifyAfterMs: 60_000,
      acted: true,
      event: event(),
    })
    expect((await harness.store.findRun(run.runId))?.result).toEqual(result)
  })
})

describe('the outbox', () => {
  test('has a row for every end, due after the first notification had its time, and until it is delivered', async () => {
    const [soon, later] = [await harness.begun(), await harness.begun()]
    for (const [run, notifyAfterMs] of [
      [soon, -1],
      [later, 60_000],
    ] as const) {
      await harness.store.endRun({ runId: run.runId, epoch: 1, status: 'success', notifyAfterMs, acted: true, event: event() })
    }
    const due = await harness.store.claimPending({ limit: 100, retryMs: 60_000 })
    expect(due.find((each) => each.runId === soon.runId)).toMatchObject({
      key: { workspace: 'acme', kind: 'client', key: 'k' },
      attempts: 1,
    })
    expect(due.some((each) => each.runId === later.runId)).toBe(false)
    // Taken: not due again before the retry.
    expect((await harness.store.claimPending({ limit: 100, retryMs: 60_000 })).some((each) => each.runId === soon.runId)).toBe(false)
    // Each try puts off when it is due, and not how long it has waited.
    await harness.database.pool.query(`UPDATE runs SET ended_at = now() - interval '1 hour' WHERE run_id = $1`, [soon.runId])
    expect((await harness.store.pending()).lagMs).toBeGreaterThan(3_590_000)
    const before = (await harness.store.pending()).count
    await harness.store.told([soon.runId, later.runId])
    expect((await harness.store.pending()).count).toBe(before - 2)
  })
})

describe('listing', () => {
  test('pages newest first, without gaps or repeats, within the workspace', async () => {
    const workspace = `w-${randomUUID()}`
    const made: string[] = []
    for (let index = 0; index < 7; index += 1) {
      const id = await harness.preview({ workspace })
      const result = await harness.store.begin(beginOf(id, { key: { workspace, kind: 'client', key: `k${index}` } }))
      if (result.outcome === 'begun') made.unshift(result.run.runId)
    }
    const seen: string[] = []
    let after: PageEnd | undefined
    do {
      const page: Awaited<ReturnType<RunReader['list']>> = await postgresRunReader(harness.database).list({
        workspace,
        status: undefined,
        limit: 3,
        after,
      })
      seen.push(...page.runs.map((run) => run.runId))
      after = page.next
    } while (after !== undefined)
    expect(seen).toEqual(made)
    expect((await postgresRunReader(harness.database).list({ workspace, status: 'success', limit: 10, after: undefined })).runs).toEqual([])
  })
})
