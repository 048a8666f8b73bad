/** What the audit log is told of previews and runs: with the act, or not at all. */
import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { AuditEvent } from '#mesh/audit/event.ts'
import { meshErrors } from '#mesh/errors.ts'
import type { Outcome } from '../../../services/actions/adapter.ts'
import { postgresStore } from '../../../services/actions/store.postgres.ts'
import { type Harness, principalOf, execute, openHarness } from './harness.ts'

let harness: Harness
beforeEach(async () => {
  harness = await openHarness()
})
afterEach(() => harness.close())

const rows = async <Row>(text: string, values: unknown[] = []) => (await harness.database.pool.query(text, values)).rows as Row[]
async function eventsOf(action: string): Promise<AuditEvent[]> {
  const written = await rows<{ event_id: string; event: string }>('SELECT event_id, event FROM audit_outbox')
  const events = written.map(({ event_id: id, event }) => ({ id, event: JSON.parse(event) as AuditEvent }))
  for (const { id, event } of events) expect(event.eventId).toBe(id)
  return events.map(({ event }) => event).filter((event) => event.action === action)
}

/** The lease runs out, as it does when its holder was killed. */

/** Holds up whatever writes an event, has the server end it there, and gives way again. */
async function killedBeforeItsEvent(act: () => Promise<unknown>): Promise<void> {
  const other = await harness.database.pool.connect()
  try {
    await other.query('BEGIN')
    await other.query('LOCK TABLE audit_outbox IN EXCLUSIVE MODE')
    const acting = Promise.allSettled([act()])
    const killed = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
    await vi.waitFor(async () => expect((await rows(killed)).length).toBe(1))
    expect(await acting).toMatchObject([{ status: 'rejected', reason: { reason: 'DEPENDENCY_UNAVAILABLE' } }])
  } finally {
    await other.query('ROLLBACK')
    other.release()
  }
}

describe('a preview', () => {
  test('is recorded: who, with which key, from where, which preview', async () => {
    const principal = principalOf({ requestId: randomUUID(), source: '2001:db8::9' })
    const previewId = await harness.preview('milk', principal)
    expect(await eventsOf('actions.preview')).toEqual([
      {
        eventId: expect.any(String),
        occurredAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        service: 'actions',
        action: 'actions.preview',
        outcome: 'success',
        reason: '',
        targets: [`preview:${previewId}`],
        count: 1,
        ...principal,
      },
    ])
  })

  test('whose statement is killed leaves neither the preview nor the event', async () => {
    await killedBeforeItsEvent(() => harness.preview())
    expect(await rows('SELECT 1 FROM previews')).toEqual([])
    expect(await eventsOf('actions.preview')).toEqual([])
  })

  test('that is rejected is not an act', async () => {
    await expect(harness.preview(1 as unknown as string)).rejects.toMatchObject({ reason: 'INVALID_PARAMS' })
    expect(await eventsOf('actions.preview')).toEqual([])
  })
})

describe('the end of a run', () => {
  test.each([
    ['success', '', { status: 'success', result: { ok: true } }],
    ['failed', 'HTTP_500', { status: 'failed', error: { reason: 'HTTP_500', message: 'a person wrote: pst, secret' } }],
    ['unknown', 'TIMEOUT', { status: 'unknown', error: { reason: 'TIMEOUT', message: 'no answer' } }],
  ] as [string, string, Outcome][])('is told of with its outcome (%s), and nothing that anybody wrote', async (outcome, reason, acts) => {
    harness.ledger.onExecute = async () => acts
    const previewId = await harness.preview('pst, secret')
    const principal = principalOf({ keyId: 'key-2', source: '192.0.2.99' })
    const { run } = await execute(harness.replica(), previewId, 'k1', principal)
    const told = await eventsOf('actions.execute')
    expect(told).toEqual([
      expect.objectContaining({ ...principal, outcome, reason, targets: [`run:${run.runId}`, `preview:${previewId}`] }),
    ])
    expect(JSON.stringify(told)).not.toContain('secret')
  })

  test('is recorded once, however often it is returned again', async () => {
    const [replica, previewId] = [harness.replica(), await harness.preview()]
    for (let time = 0; time < 3; time += 1) await execute(replica, previewId, 'k1', { requestId: randomUUID() })
    expect(await eventsOf('actions.execute')).toHaveLength(1)
  })

  test('whose statement is killed leaves neither the end nor the event, and both once it is written again', async () => {
    let killed = 0
    const replica = harness.replica({
      store: (real) => ({
        ...real,
        async endRun(end) {
          if (killed > 0) return real.endRun(end)
          await killedBeforeItsEvent(() => real.endRun(end))
          expect(await rows('SELECT status FROM runs')).toEqual([{ status: 'executing' }])
          expect(await rows('SELECT 1 FROM outbox')).toEqual([])
          expect(await eventsOf('actions.execute')).toEqual([])
          killed += 1
          throw meshErrors.DEPENDENCY_UNAVAILABLE()
        },
      }),
    })
    expect((await execute(replica, await harness.preview(), 'k1')).run.status).toBe('success')
    expect(killed).toBe(1)
    expect(await eventsOf('actions.execute')).toHaveLength(1)
  })

  test('that was written although the response was lost is recorded once', async () => {
    let lost = false
    const replica = harness.replica({
      store: (real) => ({
        ...real,
        async endRun(end) {
          const ended = await real.endRun(end)
          if (lost) return ended
          lost = true
          throw meshErrors.DEPENDENCY_UNAVAILABLE()
        },
      }),
    })
    expect((await execute(replica, await harness.preview(), 'k1')).run.status).toBe('success')
    expect(await eventsOf('actions.execute')).toHaveLength(1)
  })

  test('that the reconciler writes names the caller of the run', async () => {
    const first = principalOf({ keyId: 'first-key', source: '192.0.2.1' })
    const dead = harness.replica({
      leaseMs: 60_000,
      store: (real) => ({
        ...real,
        endRun: () => Promise.reject(new Error('killed')),
        renewLease: () => Promise.reject(new Error('killed')),
      }),
    })
    const previewId = await harness.preview()
    await expect(execute(dead, previewId, 'k1', first)).rejects.toThrow('killed')
    expect(await eventsOf('actions.execute')).toEqual([])
    await harness.lapse()
    const replica = harness.replica()
    await replica.reconciler.round()
    await execute(replica, previewId, 'k1', { keyId: 'second-key', source: '192.0.2.2', requestId: randomUUID() })
    expect(await eventsOf('actions.execute')).toEqual([expect.objectContaining({ ...first, outcome: 'unknown', reason: 'LOST' })])
  })

  test('of a run that an earlier release began is recorded, without what that release did not store', async () => {
    const previewId = await harness.preview()
    const runId = randomUUID()
    await rows(
      `INSERT INTO runs (run_id, preview_id, attempt_id, workspace, actor, action, provider, params, key_kind, key, lease_until,
         request_id, trace_id)
       SELECT $1, preview_id, $1, workspace, actor, action, provider, params, 'client', 'k1', clock_timestamp() - interval '1 minute',
         $1, 't'
       FROM previews WHERE preview_id = $2`,
      [runId, previewId],
    )
    await harness.lapse()
    await harness.replica().reconciler.round()
    const principal = { workspace: 'acme', actor: 'ada', keyId: '', source: '', requestId: runId, traceId: 't' }
    expect(await eventsOf('actions.execute')).toEqual([expect.objectContaining(principal)])
  })

  test('that came too late does not count, and is not recorded', async () => {
    let asked = 0
    const store = postgresStore(harness.database, () => (asked += 1))
    const replica = harness.replica({ store: () => store })
    const { run } = await execute(replica, await harness.preview(), 'k1')
    const before = asked
    expect(before).toBe(1)
    const [event] = await eventsOf('actions.execute')
    const late = {
      runId: run.runId,
      epoch: 1,
      status: 'failed',
      notifyAfterMs: 0,
      acted: true,
      event: { ...event!, eventId: randomUUID() },
    } as const
    expect(await store.endRun(late)).toBeUndefined()
    expect(await eventsOf('actions.execute')).toEqual([event])
    // Nor is anybody woken for it.
    expect(asked).toBe(before)
  })
})
