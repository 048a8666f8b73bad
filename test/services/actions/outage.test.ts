/** Two replicas, and a database that is away for longer than a lease while no process dies. */
import { createSecretKey } from 'node:crypto'
import { type TestContext, describe, expect, test, vi } from 'vitest'
import { type Acting, type OutageStage, type PlacedReplica, everyAction, leaseMs, outageStage, webhookActing } from './outage-harness.ts'
import { startReceiver } from '../../fakes/receiver.ts'
import { execute, latch } from './harness.ts'
import { adapter as webhook } from './webhook-harness.ts'

// Each test has a database and ways of its own, and waits for leases: several of them wait at once.
const patience = { timeout: 30_000, interval: 50 }
const eventually = (check: () => Promise<unknown>) => vi.waitFor(check, patience)
const opened = async (act: () => Promise<Acting>, { onTestFinished }: Pick<TestContext, 'onTestFinished'>): Promise<OutageStage> => {
  const at = await outageStage(act)
  onTestFinished(() => at.close())
  return at
}
const preview = (at: OutageStage) => at.on.previewOf(at.acting.action, at.acting.params)

/** The outage has lasted for longer than any lease. */
const longAway = (at: OutageStage) => eventually(async () => expect(await at.overdueMs()).toBeGreaterThan(leaseMs / 5))

/** The database is back, for the holder last: the others have looked for lost runs by then. */
async function isBack(holder: PlacedReplica, ...others: PlacedReplica[]): Promise<void> {
  for (const other of others) {
    other.way.restore()
    await eventually(() => other.reconciler.round())
  }
  holder.way.restore()
}

describe.concurrent.each(everyAction)('%s, with the database unavailable for longer than a lease', (_, act) => {
  test('a response during the outage is the outcome of the run: no one takes it over, and it happens once', async (context) => {
    const at = await opened(act, context)
    const [holder, other] = [await at.place(), await at.place()]
    const executed = execute(holder, await preview(at), 'k1')
    await at.acting.asked()
    for (const { way } of [holder, other]) way.silence()
    await longAway(at)
    at.acting.release()
    await isBack(holder, other)
    expect(await executed).toMatchObject({ replayed: false, run: { status: 'success' } })
    expect(await at.run()).toMatchObject({ status: 'success', epoch: 1, error: null })
    expect(at.acting.effects()).toBe(1)
  })
})

describe.concurrent('takeovers', () => {
  test('a response after an outage is the outcome of the run, and no one has taken it over', async (context) => {
    const at = await opened(() => webhookActing({ redeliver_after_crash: true }), context)
    const [holder, other] = [await at.place(), await at.place()]
    const executed = execute(holder, await preview(at), 'k1')
    await at.acting.asked()
    for (const { way } of [holder, other]) way.silence()
    await longAway(at)
    await isBack(holder, other)
    await eventually(async () => expect(await at.overdueMs()).toBeLessThan(0))
    at.acting.release()
    expect(await executed).toMatchObject({ run: { status: 'success' } })
    expect(await at.run()).toMatchObject({ status: 'success', epoch: 1 })
    expect(at.acting.effects()).toBe(1)
  })

  test('a replica that started during the outage takes nothing from a live owner', async (context) => {
    const at = await opened(() => webhookActing({ redeliver_after_crash: true }), context)
    const holder = await at.place()
    const executed = execute(holder, await preview(at), 'k1')
    await at.acting.asked()
    holder.way.silence()
    await longAway(at)
    // It has never seen the outage, and finds a lease that ran out long ago. The holder is slower to come back.
    const fresh = await at.place()
    at.acting.release()
    await isBack(holder, fresh)
    expect(await executed).toMatchObject({ run: { status: 'success', epoch: 1 } })
    expect(at.acting.effects()).toBe(1)
  })

  test('a replica that was cut off alone takes nothing from an owner that was not', async (context) => {
    const at = await opened(webhookActing, context)
    const [holder, alone] = [await at.place(), await at.place()]
    const executed = execute(holder, await preview(at), 'k1')
    await at.acting.asked()
    const { rows } = await at.on.database.pool.query('SELECT clock_timestamp() AS at')
    alone.way.silence()
    // The holder keeps the run and the heartbeat meanwhile, for longer than a lease.
    await eventually(async () => {
      const { rows: now } = await at.on.database.pool.query(
        `SELECT clock_timestamp() > $1::timestamptz + $2 * interval '1 millisecond' AS late`,
        [rows[0].at, leaseMs * 1.2],
      )
      expect(now).toEqual([{ late: true }])
    })
    alone.way.restore()
    await alone.reconciler.round()
    at.acting.release()
    expect(await executed).toMatchObject({ run: { status: 'success', epoch: 1 } })
  })

  test('an owner that was cut off alone counts as lost, and its result replaces the unknown when it is back', async (context) => {
    const at = await opened(webhookActing, context)
    const [holder, other] = [await at.place(), await at.place()]
    const previewId = await preview(at)
    const executed = execute(holder, previewId, 'k1')
    await at.acting.asked()
    holder.way.silence()
    await eventually(async () => expect(await at.run()).toMatchObject({ status: 'unknown', epoch: 2 }))
    expect(await execute(other, previewId, 'k1')).toMatchObject({ replayed: true, run: { status: 'unknown' } })
    at.acting.release()
    holder.way.restore()
    expect(await executed).toMatchObject({ run: { status: 'success', epoch: 2, error: undefined } })
    expect(await execute(other, previewId, 'k1')).toMatchObject({ replayed: true, run: { status: 'success' } })
    expect(at.acting.effects()).toBe(1)
  })

  test('an owner that was cut off alone while another one delivered again: only a success decides both', async (context) => {
    const [first, second] = [latch(), latch()]
    const receiver = await startReceiver({
      respond: async (_delivery, index) => {
        await (index === 0 ? first : second).opened
        return index === 0 ? { status: 500 } : { drop: 'before' }
      },
    })
    const at = await opened(
      async () => ({ ...(await webhookActing()), params: { url: receiver.url, redeliver_after_crash: true } }),
      context,
    )
    try {
      const [holder, other] = [await at.place(), await at.place()]
      const executed = execute(holder, await preview(at), 'k1')
      await receiver.waitForDeliveries(1)
      holder.way.silence()
      await receiver.waitForDeliveries(2)
      // The first one is known to have failed by now, but the second one may have done it: it stays unknown.
      first.open()
      holder.way.restore()
      second.open()
      expect(await executed).toMatchObject({ run: { status: 'unknown', errorReason: 'WEBHOOK_OUTCOME_LOST', epoch: 2 } })
      expect(other.executor.held()).toEqual([])
      expect(receiver.deliveries).toHaveLength(2)
    } finally {
      first.open()
      second.open()
      await receiver.close()
    }
  })

  test('a run of a dead owner is taken over after an outage, once a lease has passed', async (context) => {
    const at = await opened(webhookActing, context)
    // Its process is gone: nothing renews, nothing is written.
    const killed = () => Promise.reject(new Error('killed'))
    const dead = await at.place({
      store: (real) => ({ ...real, renewLease: killed, endRun: killed, beat: killed, claimExpiredRuns: async () => [] }),
    })
    const executed = execute(dead, await preview(at), 'k1')
    executed.catch(() => undefined)
    await at.acting.asked()
    at.acting.release()
    await expect(executed).rejects.toThrow('killed')
    await longAway(at)
    await at.place()
    await eventually(async () => expect(await at.run()).toMatchObject({ status: 'unknown', epoch: 2 }))
    const { rows } = await at.on.database.pool.query(
      "SELECT runs.ended_at - steady_since >= $1 * interval '1 millisecond' AS waited FROM runs, heartbeat",
      [leaseMs],
    )
    expect(rows).toEqual([{ waited: true }])
  })
})

describe.concurrent('an outage prevents', () => {
  /** The way of this replica falls silent right as it writes a run ahead: what it sends from then on lands once the way is open again. */
  const silentAtBegin = (at: OutageStage): { place: () => Promise<PlacedReplica>; silenced: Promise<void> } => {
    const silenced = latch()
    return {
      silenced: silenced.opened,
      async place() {
        let first = true
        const placed: PlacedReplica = await at.place({
          store: (real) => ({
            ...real,
            begin(begin) {
              if (first) placed.way.silence()
              first = false
              silenced.open()
              return real.begin(begin)
            },
          }),
        })
        return placed
      },
    }
  }

  test('a run whose row commits after its caller got an error ends as one of which nothing was sent', async (context) => {
    const at = await opened(webhookActing, context)
    at.acting.release()
    const { place, silenced } = silentAtBegin(at)
    const [holder, other] = [await place(), await at.place()]
    const previewId = await preview(at)
    const executed = execute(holder, previewId, 'k1')
    await silenced
    other.way.silence()
    await expect(executed).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    for (const { way } of [other, holder]) way.resume()
    await eventually(async () =>
      expect(await execute(other, previewId, 'k1')).toMatchObject({ run: { status: 'failed', errorReason: 'NOT_ACTED' } }),
    )
    expect(at.acting.effects()).toBe(0)
  })

  test('an owner that was cut off before it acted reports it when it is back: nothing was done', async (context) => {
    const [asked, known] = [latch(), latch()]
    // Which key signs is asked for once the run is held, and before anything is sent.
    const signingKeys = async () => {
      asked.open()
      await known.opened
      return { newest: createSecretKey(Buffer.alloc(32)), previous: undefined }
    }
    const at = await opened(async () => ({ ...(await webhookActing()), adapter: webhook({ signingKeys, timeoutMs: 30_000 }) }), context)
    const [holder, other] = [await at.place(), await at.place()]
    const previewId = await preview(at)
    const executed = execute(holder, previewId, 'k1')
    await asked.opened
    holder.way.silence()
    await eventually(async () => expect(await at.run()).toMatchObject({ status: 'unknown', epoch: 2 }))
    known.open()
    holder.way.restore()
    expect(await executed).toMatchObject({ run: { status: 'failed', errorReason: 'NOT_ACTED', epoch: 2 } })
    expect(await execute(other, previewId, 'k1')).toMatchObject({ replayed: true, run: { status: 'failed' } })
    expect(at.acting.effects()).toBe(0)
  })
})
