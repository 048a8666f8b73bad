import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { retention } from '../../../services/actions/retention.ts'
import { anEvent } from '../../mesh/audit/events.ts'
import { type Harness, execute, openHarness } from './harness.ts'

const hour = 3_600_000
let harness: Harness
beforeAll(async () => void (harness = await openHarness()))
afterAll(() => harness?.close())

/** A run that ended `hoursAgo`, of which the idempotency service heard at once. */
async function ended(hoursAgo: number, note = 'private mail'): Promise<string> {
  const previewId = await harness.preview(note)
  const { run } = await execute(harness.replica(), previewId, randomUUID())
  await vi.waitFor(async () =>
    expect((await harness.database.pool.query('SELECT FROM outbox WHERE run_id = $1', [run.runId])).rowCount).toBe(0),
  )
  await harness.database.pool.query("UPDATE runs SET ended_at = now() - $2::float8 * interval '1 hour' WHERE run_id = $1", [
    run.runId,
    hoursAgo,
  ])
  await harness.database.pool.query('DELETE FROM previews WHERE preview_id = $1', [previewId])
  return run.runId
}
const find = (runId: string) => harness.runs.find(runId)

test('parameters and result of a run are deleted after their time, in every column, and its outcome is still returned', async () => {
  const [old, young] = [await ended(26), await ended(24.5)]
  const pruning = retention({
    pruner: harness.pruner,
    detailsMs: 24 * hour,
    runsMs: 48 * hour,
    metrics: new Metrics('actions'),
    log: pino({ level: 'silent' }),
    intervalMs: 20,
  })
  pruning.start()
  try {
    await vi.waitFor(async () => expect((await find(old))?.detailsRemoved).toBe(true))
  } finally {
    await pruning.stop()
  }
  expect(await find(old)).toMatchObject({ status: 'success', params: Buffer.from('{}'), result: undefined, recovery: undefined })
  const { rows } = await harness.database.pool.query<{ row: string }>('SELECT runs::text AS row FROM runs WHERE run_id = $1', [old])
  expect(rows[0]!.row).not.toMatch(/private|70726976617465/)
  expect(await find(young)).toMatchObject({ detailsRemoved: false, result: { ok: true } })
})

test('a run is deleted after its time, and not while its preview could be run again', async () => {
  const [old, previewed] = [await ended(50), await ended(50)]
  const { rows } = await harness.database.pool.query('SELECT preview_id FROM runs WHERE run_id = $1', [previewed])
  await harness.database.pool.query(
    `INSERT INTO previews (preview_id, workspace, actor, action, provider, params, summary, warnings, expires_at)
     VALUES ($1, 'acme', 'ada', 'ledger.add', 'independent', '{}', '', '{}', now())`,
    [rows[0]!.preview_id],
  )
  expect(await harness.pruner.deleteRuns(48 * hour, 100)).toBe(1)
  expect(await find(old)).toBeUndefined()
  expect(await find(previewed)).toBeDefined()
})

test('a run that the idempotency service was not notified of stays, and for its whole time afterwards', async () => {
  const runId = await ended(100)
  const insert = `INSERT INTO outbox (run_id, workspace, key_kind, key, due_at) VALUES ($1, 'acme', 'client', 'k', now())`
  await harness.database.pool.query(insert, [runId])
  await harness.pruner.removeDetails(25 * hour, 100)
  await harness.pruner.deleteRuns(49 * hour, 100)
  expect(await find(runId)).toMatchObject({ detailsRemoved: false })
  // Heard only now: its key answers for a day from here on.
  await harness.replica().store.told([runId])
  await harness.pruner.removeDetails(25 * hour, 100)
  await harness.pruner.deleteRuns(49 * hour, 100)
  expect(await find(runId)).toMatchObject({ detailsRemoved: false, result: { ok: true } })
  await harness.database.pool.query(`UPDATE runs SET told_at = now() - interval '50 hours' WHERE run_id = $1`, [runId])
  expect(await harness.pruner.removeDetails(25 * hour, 100)).toBe(1)
  expect(await harness.pruner.deleteRuns(49 * hour, 100)).toBe(1)
})

test('a run in progress is never changed, however long it takes', async () => {
  const runId = await ended(100)
  await harness.database.pool.query(
    `UPDATE runs SET status = 'executing', ended_at = NULL, started_at = now() - interval '1 year' WHERE run_id = $1`,
    [runId],
  )
  await harness.pruner.removeDetails(1, 100)
  await harness.pruner.deleteRuns(1, 100)
  expect(await find(runId)).toMatchObject({ status: 'executing', detailsRemoved: false })
})

test.each(['success', 'failed'] as const)(
  'what an earlier holder knows late of a run is said, %s, and brings nothing back of what was removed',
  async (status) => {
    const runId = await ended(26)
    await harness.database.pool.query(
      `UPDATE runs SET status = 'unknown', epoch = 2, acted = false, result = NULL, error_reason = 'LOST', error = 'LOST: private mail' WHERE run_id = $1`,
      [runId],
    )
    expect(await harness.pruner.removeDetails(25 * hour, 100)).toBe(1)
    const details =
      status === 'success' ? { result: '{"note":"private mail"}' } : { errorReason: 'REFUSED', error: 'REFUSED: private mail' }
    const event = { ...anEvent(), eventId: randomUUID() }
    const late = await harness.replica().store.endLate({ runId, epoch: 1, status, notifyAfterMs: 60_000, event, ...details })
    expect(late).toMatchObject({ was: 'unknown', run: { status, detailsRemoved: true } })
    const { rows } = await harness.database.pool.query<{ row: string }>('SELECT runs::text AS row FROM runs WHERE run_id = $1', [runId])
    expect(rows[0]!.row).not.toMatch(/private/)
    if (status === 'failed')
      expect(await find(runId)).toMatchObject({ errorReason: 'REFUSED', error: 'REFUSED: what happened is no longer kept.' })
  },
)

test('retention lag grows while old runs cannot be deleted, and disappears afterwards', async () => {
  const metrics = new Metrics('actions')
  const lag = async () => (await metrics.registry.getSingleMetric('action_retention_lag_seconds')!.get()).values[0]!.value
  let failing = true
  const removing = async () => {
    if (failing) throw new Error('no database')
    return 0
  }
  const parts = { detailsMs: 24 * hour, runsMs: 48 * hour, metrics, log: pino({ level: 'silent' }), intervalMs: 10 }
  const pruning = retention({ pruner: { removeDetails: removing, deleteRuns: removing }, ...parts })
  pruning.start()
  try {
    await vi.waitFor(async () => expect(await lag()).toBeGreaterThan(0.3))
    failing = false
    await vi.waitFor(async () => expect(await lag()).toBeLessThan(0.2))
  } finally {
    await pruning.stop()
  }
})
