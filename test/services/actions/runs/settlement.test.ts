/** Settling by hand a run whose outcome is unknown: once, by whoever commits first, and for good. */
import { randomUUID } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import type { AuditEvent } from '#mesh/audit/event.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { ActionMetrics } from '../../../../services/actions/metrics.ts'
import { Settlements, type SettleRequest } from '../../../../services/actions/runs/settlement.ts'
import { postgresSettlementStore } from '../../../../services/actions/store.settlements.postgres.ts'
import { principalOf } from '../harness.ts'
import { StoreStage, event } from '../store-harness.ts'

const harness = new StoreStage()
const instruments = new Metrics('t')
let settlements: Settlements
beforeAll(() => {
  settlements = new Settlements({
    store: postgresSettlementStore(harness.database),
    metrics: new ActionMetrics(instruments, harness.store),
  })
})

const success = { status: 'success', result: '{"ok":true}' } as const
const failed = { status: 'failed', errorReason: 'NO', error: 'NO: nothing was sent' } as const
const unknown = { status: 'unknown', errorReason: 'LOST', error: 'LOST: who knows' } as const

/** A run that was taken over, and ended so by who took it. */
async function ended(end: typeof success | typeof failed | typeof unknown = unknown): Promise<string> {
  const { runId } = await harness.begun({ leaseMs: -60_000 })
  await harness.claimExpired()
  await harness.store.endRun({ runId, epoch: 2, acted: false, event: event(), notifyAfterMs: 60_000, ...end })
  return runId
}
/** What the first holder of the run knows, and says only now. */
const late = (runId: string, end: typeof success | typeof failed) =>
  harness.store.endLate({ runId, epoch: 1, event: event(), notifyAfterMs: 60_000, ...end })
const settle = (runId: string, verdict: SettleRequest['verdict'], { actor = 'root', workspace = 'acme', reason = 'looked into it' } = {}) =>
  settlements.settle({ runId, verdict, reason, principal: principalOf({ actor, workspace }) })
const eventsOf = async (runId: string): Promise<AuditEvent[]> => {
  const { rows } = await harness.database.pool.query<{ event: string }>('SELECT event FROM audit_outbox')
  return rows.map((row) => JSON.parse(row.event) as AuditEvent).filter(({ targets }) => targets.includes(`run:${runId}`))
}
const settled = async (verdict: string): Promise<number> => {
  const line = (await instruments.scrape(undefined)).body
    .split('\n')
    .find((each) => each.startsWith('action_settled_total') && each.includes(`"${verdict}"`))
  return Number(line?.split(' ').at(-1) ?? 0)
}

/** Starts all of `works` while the run's row is locked, and lets go once each of them waits for it. */
async function together<T>(runId: string, works: readonly (() => Promise<T>)[]): Promise<PromiseSettledResult<T>[]> {
  const client = await harness.database.pool.connect()
  try {
    await client.query('BEGIN')
    await client.query('SELECT 1 FROM runs WHERE run_id = $1 FOR UPDATE', [runId])
    const all = Promise.allSettled(works.map((work) => work()))
    // On another connection: in a transaction, Postgres says again and again what it said first.
    const waiting = async () =>
      (
        await harness.database.pool.query<{ count: number }>(
          `SELECT count(*)::int AS count FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
        )
      ).rows[0]!.count
    await expect.poll(waiting, { timeout: 5000, interval: 10 }).toBe(works.length)
    await client.query('COMMIT')
    return await all
  } finally {
    client.release()
  }
}

test.each([
  ['happened', { status: 'success', error: undefined, errorReason: undefined }],
  ['did_not_happen', { status: 'failed', error: expect.stringMatching(/^SETTLED: /), errorReason: 'SETTLED' }],
] as const)('a run that ended as unknown and %s says from then on how it ended, who settled it, when and why', async (verdict, becomes) => {
  const runId = await ended()
  const before = await harness.store.findRun(runId)
  const counted = await settled(verdict)
  const settlement = { verdict, reason: 'looked into it', settledBy: 'root', settledAt: expect.any(Date) }
  expect(await settle(runId, verdict)).toMatchObject({ runId, ...becomes, settlement })
  expect(await harness.store.findRun(runId)).toEqual({ ...before, ...becomes, settlement })
  expect(await eventsOf(runId)).toEqual([
    expect.objectContaining({
      action: 'actions.settle',
      outcome: 'success',
      reason: verdict.toUpperCase(),
      actor: 'root',
      keyId: 'key-1',
      workspace: 'acme',
    }),
  ])
  expect(await settled(verdict)).toBe(counted + 1)
})

test('the same verdict of the same actor gets the same response; the other verdict, and any other actor, are rejected', async () => {
  const runId = await ended()
  const first = await settle(runId, 'happened')
  expect(await settle(runId, 'happened', { reason: 'asked again' })).toEqual(first)
  for (const again of [settle(runId, 'did_not_happen'), settle(runId, 'happened', { actor: 'other' })]) {
    await expect(again).rejects.toMatchObject({
      reason: 'RUN_ALREADY_SETTLED',
      metadata: { run_id: runId, verdict: 'happened', settled_by: 'root' },
    })
  }
  expect(await harness.store.findRun(runId)).toEqual(first)
  expect(await eventsOf(runId)).toHaveLength(1)
})

test('a run in progress, or with a known outcome, cannot be settled', async () => {
  const { runId } = await harness.begun()
  for (const [each, status] of [
    [runId, 'executing'],
    [await ended(success), 'success'],
    [await ended(failed), 'failed'],
  ] as const) {
    await expect(settle(each, 'happened')).rejects.toMatchObject({ reason: 'RUN_NOT_UNKNOWN', metadata: { status } })
    expect(await harness.store.findRun(each)).toMatchObject({ status, settlement: undefined })
    expect(await eventsOf(each)).toEqual([])
  }
})

test("another workspace's run, one that does not exist, and what stands in the place of one that never began are not found", async () => {
  const runId = await ended()
  const given = randomUUID()
  await harness.store.giveUp(given, { workspace: 'acme', kind: 'client', key: 'given-up' })
  for (const [each, workspace] of [
    [runId, 'other'],
    [randomUUID(), 'acme'],
    [given, 'acme'],
  ] as const) {
    await expect(settle(each, 'happened', { workspace })).rejects.toMatchObject({ reason: 'RUN_NOT_FOUND' })
  }
  expect(await harness.store.findRun(runId)).toMatchObject({ status: 'unknown', settlement: undefined })
})

describe('the result of an earlier owner of the run', () => {
  test('changes nothing once the run is settled', async () => {
    for (const verdict of ['happened', 'did_not_happen'] as const) {
      const runId = await ended()
      const run = await settle(runId, verdict)
      for (const end of [success, failed]) expect(await late(runId, end)).toBeUndefined()
      expect(await harness.store.findRun(runId)).toEqual(run)
    }
  })

  test('counts if it came first: there is nothing to settle', async () => {
    const runId = await ended()
    await late(runId, success)
    await expect(settle(runId, 'did_not_happen')).rejects.toMatchObject({ reason: 'RUN_NOT_UNKNOWN', metadata: { status: 'success' } })
    expect(await harness.store.findRun(runId)).toMatchObject({ status: 'success', result: { ok: true }, settlement: undefined })
  })

  test('and a concurrent settlement: the first to commit counts, whole, and the other learns of it', async () => {
    for (let round = 0; round < 10; round += 1) {
      const runId = await ended()
      const settling = () => settle(runId, 'did_not_happen')
      const telling = () => late(runId, success)
      const order = round % 2 === 0 ? [settling, telling] : [telling, settling]
      const results = await together<unknown>(runId, order)
      const [bySettling, byTelling] = round % 2 === 0 ? results : results.toReversed()
      const run = await harness.store.findRun(runId)
      if (bySettling!.status === 'fulfilled') {
        expect(byTelling).toEqual({ status: 'fulfilled', value: undefined })
        expect(run).toMatchObject({ status: 'failed', errorReason: 'SETTLED', settlement: { verdict: 'did_not_happen' } })
      } else {
        expect(bySettling).toMatchObject({ reason: { reason: 'RUN_NOT_UNKNOWN', metadata: { status: 'success' } } })
        expect(byTelling).toMatchObject({ value: { was: 'unknown' } })
        expect(run).toMatchObject({ status: 'success', result: { ok: true }, settlement: undefined })
      }
    }
  })
})

test('of two actors who settle a run concurrently, one does, and the other learns who did', async () => {
  for (let round = 0; round < 10; round += 1) {
    const runId = await ended()
    const results = await together(runId, [
      () => settle(runId, 'happened', { actor: 'ann' }),
      () => settle(runId, 'did_not_happen', { actor: 'bob' }),
    ])
    const won = results.findIndex(({ status }) => status === 'fulfilled')
    const settledBy = ['ann', 'bob'][won]
    expect(results[1 - won]).toMatchObject({
      status: 'rejected',
      reason: { reason: 'RUN_ALREADY_SETTLED', metadata: { settled_by: settledBy } },
    })
    expect(await harness.store.findRun(runId)).toMatchObject({ status: ['success', 'failed'][won], settlement: { settledBy } })
    expect(await eventsOf(runId)).toEqual([expect.objectContaining({ actor: settledBy })])
  }
})
