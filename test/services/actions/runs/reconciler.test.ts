/** What becomes of a run whose holder was lost. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { meshErrors } from '#mesh/errors.ts'
import { type Harness, execute, latch, openHarness } from '../harness.ts'

let harness: Harness
beforeEach(async () => {
  harness = await openHarness()
})
afterEach(() => harness.close())

const away = () => Promise.reject(meshErrors.DEPENDENCY_UNAVAILABLE())

/** A run whose holder is gone for good between the effect and the end. */
async function lostAfterEffect(key = 'k1'): Promise<{ runId: string; previewId: string }> {
  const dead = harness.replica({
    leaseMs: 60_000,
    store: (real) => ({
      ...real,
      endRun: () => Promise.reject(new Error('killed')),
      renewLease: () => Promise.reject(new Error('killed')),
    }),
  })
  const previewId = await harness.preview()
  await expect(execute(dead, previewId, key)).rejects.toThrow('killed')
  await harness.lapse()
  return { runId: harness.ledger.effects.at(-1)!, previewId }
}

test('a lost run ends as its adapter finds out, without a second effect', async () => {
  const { runId, previewId } = await lostAfterEffect()
  harness.ledger.onReconcile = async (run) => ({ status: 'success', result: { attempt: run.attempt } })
  const replica = harness.replica()
  replica.reconciler.start()
  await vi.waitFor(async () => expect((await replica.store.findRun(runId))?.status).toBe('success'))
  expect(await execute(replica, previewId, 'k1')).toMatchObject({ replayed: true, run: { runId, result: { attempt: 2 } } })
  expect(harness.ledger.effects).toEqual([runId])
})

test('several reconcilers query a lost run once', async () => {
  const { runId } = await lostAfterEffect()
  let asked = 0
  harness.ledger.onReconcile = async () => {
    asked += 1
    return { status: 'unknown', error: { reason: 'LOST', message: 'who knows' } }
  }
  const replicas = [harness.replica(), harness.replica(), harness.replica()]
  await Promise.all(replicas.map((each) => each.reconciler.round()))
  expect(asked).toBe(1)
  expect((await replicas[0]!.store.findRun(runId))?.status).toBe('unknown')
})

test('recovery points of the lost owner are available after a takeover', async () => {
  harness.ledger.onExecute = async (run, effect) => {
    await run.record({ draft: 'd-1' })
    effect()
    return { status: 'success', result: {} }
  }
  await lostAfterEffect()
  let seen: unknown
  harness.ledger.onReconcile = async (run) => {
    seen = run.recovery
    return { status: 'success', result: {} }
  }
  await harness.replica().reconciler.round()
  expect(seen).toEqual({ draft: 'd-1' })
})

test('an owner that lost its run may not act, and returns what the run became', async () => {
  const [reached, hold] = [latch(), latch()]
  let acted = false
  harness.ledger.onExecute = async (run, effect) => {
    reached.open()
    await hold.opened
    await run.assertHeld()
    acted = true
    effect()
    return { status: 'success', result: {} }
  }
  // Its heartbeats do not get through, as when the process hangs or is cut off.
  let cutOff = true
  const slow = harness.replica({
    leaseMs: 200,
    store: (real) => ({ ...real, renewLease: (...lease) => (cutOff ? away() : real.renewLease(...lease)) }),
  })
  const previewId = await harness.preview()
  const late = execute(slow, previewId, 'k1')
  await reached.opened
  const started = performance.now()
  await harness.lapse()
  await harness.replica().reconciler.round()
  expect((await harness.database.pool.query('SELECT status FROM runs')).rows).toEqual([{ status: 'unknown' }])
  // Its own clock says so too.
  await vi.waitFor(() => expect(performance.now() - started).toBeGreaterThan(400))
  cutOff = false
  hold.open()
  // It answers with what the run became, not with what it would have done.
  expect(await late).toMatchObject({ run: { status: 'unknown' } })
  expect(acted).toBe(false)
  expect(harness.ledger.effects).toEqual([])
})

test('an owner that cannot renew its lease until its time is up leaves the run to the reconciler, and does not report how it ended', async () => {
  harness.ledger.onExecute = async (run, effect) => {
    await new Promise((resolve) => run.signal.addEventListener('abort', resolve, { once: true }))
    await run.assertHeld()
    effect()
    return { status: 'success', result: {} }
  }
  const cutOff = harness.replica({ leaseMs: 200, waitMs: 50, actMs: 400, store: (real) => ({ ...real, renewLease: away }) })
  await expect(execute(cutOff, await harness.preview(), 'k1')).rejects.toMatchObject({ reason: 'IN_PROGRESS' })
  const { rows } = await harness.database.pool.query('SELECT status, epoch FROM runs')
  expect(rows).toEqual([{ status: 'executing', epoch: 1 }])
})

/** Writes down what it is about to do, as an adapter does that makes a draft first. */
const recordsFirst: typeof harness.ledger.onExecute = async (run, effect) => {
  await run.record({ draft: 'd-1' })
  effect()
  return { status: 'success', result: {} }
}

test('a run survives an unavailable store while it writes a recovery point', async () => {
  harness.ledger.onExecute = recordsFirst
  let refused = 0
  const replica = harness.replica({
    store: (real) => ({ ...real, recordPoint: (...point) => (++refused < 3 ? away() : real.recordPoint(...point)) }),
  })
  expect(await execute(replica, await harness.preview(), 'k1')).toMatchObject({ run: { status: 'success', recovery: { draft: 'd-1' } } })
  expect(refused).toBe(3)
})

test('if no recovery point can be written nothing is done, and a takeover finds that out', async () => {
  harness.ledger.onExecute = recordsFirst
  const cutOff = harness.replica({
    leaseMs: 200,
    waitMs: 50,
    actMs: 400,
    store: (real) => ({ ...real, recordPoint: away, renewLease: away }),
  })
  await expect(execute(cutOff, await harness.preview(), 'k1')).rejects.toMatchObject({ reason: 'IN_PROGRESS' })
  harness.ledger.onReconcile = async () => ({ status: 'failed', error: { reason: 'NOT_SENT', message: 'there is no draft' } })
  await harness.lapse()
  await harness.replica().reconciler.round()
  expect((await harness.database.pool.query('SELECT status FROM runs')).rows).toEqual([{ status: 'failed' }])
  expect(harness.ledger.effects).toEqual([])
})

test('a success that its owner knows replaces the unknown of the takeover, and the caller gets it', async () => {
  const [reached, hold] = [latch(), latch()]
  harness.ledger.onExecute = async (_run, effect) => {
    effect()
    reached.open()
    await hold.opened
    return { status: 'success', result: {} }
  }
  const slow = harness.replica({
    leaseMs: 200,
    store: (real) => ({ ...real, renewLease: () => Promise.reject(meshErrors.DEPENDENCY_UNAVAILABLE()) }),
  })
  const late = execute(slow, await harness.preview(), 'k1')
  await reached.opened
  await harness.lapse()
  await harness.replica().reconciler.round()
  hold.open()
  expect((await late).run).toMatchObject({ status: 'success', epoch: 2, error: undefined, errorReason: undefined })
  expect(harness.ledger.effects).toHaveLength(1)
})

test('a heartbeat keeps a long run from being taken over', async () => {
  const hold = latch()
  harness.ledger.onExecute = async (_run, effect) => {
    effect()
    await hold.opened
    return { status: 'success', result: {} }
  }
  const replica = harness.replica({ leaseMs: 600 })
  const running = execute(replica, await harness.preview(), 'k1')
  await vi.waitFor(() => expect(harness.ledger.effects).toHaveLength(1))
  const leases = new Set<string>()
  const other = harness.replica()
  // Until it has been renewed several times, well past the first lease.
  await vi.waitFor(
    async () => {
      await other.reconciler.round()
      const { rows } = await harness.database.pool.query('SELECT lease_until::text AS lease, epoch FROM runs')
      expect(rows[0].epoch).toBe(1)
      leases.add(rows[0].lease as string)
      expect(leases.size).toBeGreaterThan(5)
    },
    { timeout: 10_000 },
  )
  hold.open()
  expect((await running).run.status).toBe('success')
})

test('a lost run of an action that this release does not have is left for a person', async () => {
  const { runId } = await lostAfterEffect()
  await harness.database.pool.query(`UPDATE runs SET action = 'gone.action'`)
  const replica = harness.replica()
  await replica.reconciler.round()
  expect(await replica.store.findRun(runId)).toMatchObject({ status: 'unknown', errorReason: 'ACTION_GONE' })
})
