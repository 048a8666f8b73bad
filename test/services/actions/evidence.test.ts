/** What a takeover rests on, and what an earlier holder may still say of its run. */
import { describe, expect, test } from 'vitest'
import { StoreStage, event } from './store-harness.ts'

const harness = new StoreStage()

test.each([
  ['nobody has beaten yet', 'DELETE FROM heartbeat', false],
  ['the first beat was a moment ago', `UPDATE heartbeat SET steady_since = clock_timestamp()`, false],
  [
    'it was beaten without a gap for nearly a lease',
    `UPDATE heartbeat SET steady_since = clock_timestamp() - interval '55 seconds'`,
    false,
  ],
  ['it was beaten without a gap for a lease', `UPDATE heartbeat SET steady_since = clock_timestamp() - interval '61 seconds'`, true],
  ['it is not beaten any more', `UPDATE heartbeat SET beat_at = clock_timestamp() - interval '21 seconds'`, false],
  ['its clock was set back since', `UPDATE heartbeat SET beat_at = clock_timestamp() + interval '1 minute'`, false],
])('a run is taken over only where the store shows that its holder could have renewed: %s', async (_, sql, taken) => {
  const run = await harness.begun({ leaseMs: -60_000 })
  await harness.database.pool.query(sql)
  const lost = await harness.claimExpired()
  expect(lost.some(({ runId }) => runId === run.runId)).toBe(taken)
})

describe('the heartbeat', () => {
  const beat = { gapMs: 20_000, restMs: 0 }
  const row = async () =>
    (
      await harness.database.pool.query<{ steady: number; beaten: number }>(
        `SELECT extract(epoch FROM clock_timestamp() - steady_since)::float8 AS steady, extract(epoch FROM clock_timestamp() - beat_at)::float8 AS beaten
       FROM heartbeat`,
      )
    ).rows[0]!

  test('is continuous over successive updates, by any number of replicas at once', async () => {
    expect(await Promise.all(Array.from({ length: 20 }, () => harness.store.beat(beat)))).toEqual(
      Array.from({ length: 20 }, () => ({ afterGap: false })),
    )
    expect((await row()).steady).toBeGreaterThan(3000)
    expect((await row()).beaten).toBeLessThan(5)
  })

  test.each([
    ['nobody beat for longer than the gap', `UPDATE heartbeat SET beat_at = clock_timestamp() - interval '21 seconds'`],
    [
      'the clock of the store went back, as another server takes over',
      `UPDATE heartbeat SET beat_at = clock_timestamp() + interval '1 second'`,
    ],
    ['it is the first one', 'DELETE FROM heartbeat'],
  ])('begins anew where %s', async (_, sql) => {
    await harness.database.pool.query(sql)
    expect(await harness.store.beat(beat)).toEqual({ afterGap: true })
    expect((await row()).steady).toBeLessThan(5)
    expect(await harness.store.beat(beat)).toEqual({ afterGap: false })
  })

  test('is not written by every replica each time', async () => {
    await harness.store.beat({ gapMs: 20_000, restMs: 10_000 })
    const written = async () => (await harness.database.pool.query('SELECT xmin::text FROM heartbeat')).rows
    const before = await written()
    await harness.store.beat({ gapMs: 20_000, restMs: 10_000 })
    expect(await written()).toEqual(before)
  })
})

describe('the result of an earlier owner', () => {
  const success = { status: 'success', result: '{"ok":true}' } as const
  const failed = { status: 'failed', errorReason: 'NO', error: 'NO: nothing was sent' } as const
  const unknown = { status: 'unknown', errorReason: 'LOST', error: 'LOST: who knows' } as const
  const wrote = { notifyAfterMs: 60_000 }

  /** A run that was taken over, and what the taker wrote of it. */
  async function takenOver(end?: typeof success | typeof failed | typeof unknown, acted = false) {
    const run = await harness.begun({ leaseMs: -60_000 })
    await harness.claimExpired()
    if (end !== undefined) await harness.store.endRun({ runId: run.runId, epoch: 2, acted, event: event(), ...wrote, ...end })
    return run.runId
  }
  const late = (runId: string, end: typeof success | typeof failed, epoch = 1) =>
    harness.store.endLate({ runId, epoch, event: event(), ...wrote, ...end })

  test('replaces unknown: a success always, a failure if no later owner acted', async () => {
    for (const [end, acted, told] of [
      [success, false, true],
      [success, true, true],
      [failed, false, true],
      [failed, true, false],
    ] as const) {
      const runId = await takenOver(unknown, acted)
      expect((await late(runId, end))?.was).toBe(told ? 'unknown' : undefined)
      expect(await harness.store.findRun(runId)).toMatchObject(
        told ? { status: end.status, epoch: 2 } : { status: 'unknown', error: 'LOST: who knows' },
      )
    }
  })

  test('keeps nothing of the unknown that it replaces, and is recorded once', async () => {
    const runId = await takenOver(unknown)
    const told = event()
    await harness.store.endLate({ runId, epoch: 1, ...wrote, event: told, ...success })
    expect(await harness.store.findRun(runId)).toMatchObject({
      status: 'success',
      result: { ok: true },
      error: undefined,
      errorReason: undefined,
    })
    expect(await harness.store.endLate({ runId, epoch: 1, ...wrote, event: event(), ...success })).toBeUndefined()
    expect((await harness.database.pool.query('SELECT 1 FROM audit_outbox WHERE event_id = $1', [told.eventId])).rows).toHaveLength(1)
  })

  test('does not replace a known outcome', async () => {
    for (const [stands, said] of [
      [success, failed],
      [failed, success],
    ] as const) {
      const runId = await takenOver(stands)
      expect(await late(runId, said)).toBeUndefined()
      expect((await harness.store.findRun(runId))?.status).toBe(stands.status)
    }
  })

  test('ends a run that another process owns by a success, not by a failure', async () => {
    const runId = await takenOver()
    expect(await late(runId, failed)).toBeUndefined()
    expect(await late(runId, success)).toMatchObject({ was: 'executing', run: { status: 'success', endedAt: expect.any(Date) } })
    expect(await harness.store.renewLease(runId, 2, 1000)).toBe(false)
    expect((await harness.database.pool.query('SELECT 1 FROM outbox WHERE run_id = $1', [runId])).rows).toHaveLength(1)
  })

  test('changes nothing if this owner itself ended the run', async () => {
    const run = await harness.begun()
    await harness.store.endRun({ runId: run.runId, epoch: 1, acted: true, event: event(), ...wrote, ...unknown })
    expect(await late(run.runId, success)).toBeUndefined()
  })

  test('of a failure changes nothing if others owned the run in between: one of them may have acted', async () => {
    const runId = await takenOver()
    await harness.database.pool.query(`UPDATE runs SET lease_until = clock_timestamp() - interval '1 minute' WHERE run_id = $1`, [runId])
    await harness.claimExpired()
    await harness.store.endRun({ runId, epoch: 3, acted: false, event: event(), ...wrote, ...unknown })
    expect(await late(runId, failed)).toBeUndefined()
    expect(await late(runId, success)).toMatchObject({ was: 'unknown' })
  })
})
