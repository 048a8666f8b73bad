/**
 * Executes a run to its end: renews its lease, lets the adapter act, writes the outcome. From here on only the run's own deadline counts,
 * no caller's deadline or cancellation.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { type AuditEvent, auditEvent } from '#mesh/audit/event.ts'
import { MeshError, isUnavailable } from '#mesh/errors.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import { currentScope } from '#mesh/telemetry/scope.ts'
import { withSpan } from '#mesh/telemetry/tracing.ts'
import { type Adapter, type Outcome, type RunHandle, RunStopped } from '../adapter.ts'
import { parseCanonical } from '../canonical.ts'
import { type Catalog, parseParams } from '../catalog.ts'
import { Lease, LeaseLostError } from './lease.ts'
import type { ActionMetrics } from '../metrics.ts'
import { type Outbox, notifyAfterMs } from './outbox.ts'
import type { RunWaiter } from './run-waiter.ts'
import { type ExecutorReason, type Run, ending, hasEnded } from './run.ts'
import type { Store } from '../store.ts'

export interface RunExecutorParts {
  store: Store
  catalog: Catalog
  outbox: Outbox
  waiter: RunWaiter
  metrics: ActionMetrics
  log: Logger
  leaseMs: number
  /** Maximum time of an adapter. */
  actMs: number
}

/** The wait between attempts to make a recovery point durable. */
const recordAgainMs = 50

/** A run that loses every owner is left for a person: something about it may cause that. */
const maxAttempts = 20

const unknown = (reason: ExecutorReason, message: string): Outcome => ({ status: 'unknown', error: { reason, message } })

/** Only the first owner can know this: there was none before it. */
const notActed: Outcome = {
  status: 'failed',
  error: {
    reason: 'NOT_ACTED' satisfies ExecutorReason,
    message: 'nothing was sent, because this process was not sure to own the run before it acted. Preview the action again',
  },
}

export class RunExecutor {
  readonly #parts: RunExecutorParts
  readonly #held = new Map<string, Promise<unknown>>()
  readonly #disowning = new Set<Promise<void>>()
  readonly #stop = new AbortController()

  constructor(parts: RunExecutorParts) {
    this.#parts = parts
  }

  /** The runs that this process executes. */
  held(): string[] {
    return [...this.#held.keys()]
  }

  /**
   * Resolves when none is left. A short outage of the store must not cost a run its outcome: ends are written for five more seconds, and
   * only then left to a takeover.
   */
  async drain(): Promise<void> {
    const enough = setTimeout(() => this.#stop.abort(), lastWritesMs)
    await Promise.allSettled([...this.#held.values(), ...this.#disowning])
    clearTimeout(enough)
  }

  /**
   * `since` is when the lease was requested, by performance.now(). Resolves to the run as it is afterwards: ended, or still executing if
   * another process took it over.
   */
  drive(run: Run, since: number): Promise<Run> {
    const driving = this.#drive(run, since)
    this.#held.set(run.runId, driving)
    const forget = () => this.#held.delete(run.runId)
    driving.then(forget, forget)
    return driving
  }

  /**
   * For an attempt that does not know whether its run was written, and so does not act: as soon as the store says that it was, the run ends
   * as failed. Any other process could not tell that nothing was done.
   */
  disown(runId: string, attemptId: string): void {
    const disowning = this.#disown(runId, attemptId).catch((error: unknown) => {
      this.#parts.log.warn({ err: error, run_id: runId }, 'a run that this process never began is left for takeover')
    })
    this.#disowning.add(disowning)
    void disowning.finally(() => this.#disowning.delete(disowning))
  }

  /**
   * A statement whose result was lost may still commit: for one lease the run is looked for. A claim without a run is settled elsewhere.
   */
  async #disown(runId: string, attemptId: string): Promise<void> {
    const { store, leaseMs } = this.#parts
    const looked = { runId, status: 'failed' }
    let until: number | undefined
    for (let wait = firstWaitMs; !this.#stop.signal.aborted; wait = nextWaitMs(wait)) {
      const run = await this.#written(looked, () => store.findRun(runId))
      until ??= performance.now() + leaseMs
      if (run?.attemptId === attemptId) await this.#end({ ...run, epoch: 1 }, notActed, false)
      if (run !== undefined || performance.now() > until) return
      await this.#pause(wait)
    }
  }

  async #drive(run: Run, since: number): Promise<Run> {
    const { store, leaseMs, log } = this.#parts
    const lease = new Lease({ since, leaseMs, renew: () => store.renewLease(run.runId, run.epoch, leaseMs) })
    try {
      const attempt = { acted: false, recorded: false }
      const outcome = await this.#act(run, lease, attempt)
      if (outcome === undefined) {
        log.warn({ run_id: run.runId }, lease.isLost ? 'lost the run to another owner before its end' : 'left the run for takeover')
        return run
      }
      return await this.#end(run, outcome, attempt.acted)
    } finally {
      lease.stop()
    }
  }

  /**
   * Undefined if the adapter could not continue after it may have acted, because the run was lost or the store unavailable for too long.
   * Records in `attempt` whether it may have acted.
   */
  async #act(run: Run, lease: Lease, attempt: { acted: boolean; recorded: boolean }): Promise<Outcome | undefined> {
    const { store, catalog, actMs, log } = this.#parts
    const adapter = catalog.find(run.action)
    if (adapter === undefined) return unknown('ACTION_GONE', 'this action is no longer known here; look at the other side')
    if (run.epoch > maxAttempts)
      return unknown('ATTEMPTS_EXHAUSTED', `every one of ${maxAttempts} holders of this run was lost; look at the other side`)
    const signal = AbortSignal.timeout(actMs)
    const handle: Omit<RunHandle, 'context'> = {
      runId: run.runId,
      workspace: run.workspace,
      actor: run.actor,
      connectionId: run.connectionId,
      signal,
      recovery: run.recovery,
      recordedAgoMs: run.recordedAgoMs,
      attempt: run.epoch,
      async assertHeld({ acts } = { acts: true }) {
        await lease.assertHeld(signal)
        attempt.acted ||= acts
      },
      async record(point: Record<string, unknown>) {
        attempt.recorded = true
        // Writing the same again is safe; while the store is unavailable, the run's deadline sets the end.
        for (;;) {
          await lease.assertHeld(signal)
          try {
            if (await store.recordPoint(run.runId, run.epoch, point)) return
            lease.lose()
          } catch (error) {
            if (!isUnavailable(error)) throw error
            await pause(recordAgainMs)
          }
        }
      },
    }
    const verb = run.epoch === 1 ? 'execute' : 'reconcile'
    const about = { 'relay.run_id': run.runId, 'relay.action': run.action, 'relay.provider': run.provider }
    try {
      return await withSpan({ name: `${verb} ${run.action}`, kind: 'internal', attributes: about }, async (span) => {
        const outcome = await call(adapter, run, { ...handle, context: { ...ownContext(), signal } })
        span?.set({ 'relay.run_status': outcome.status })
        if (outcome.status !== 'success') {
          span?.set({ 'relay.reason': outcome.error.reason })
          span?.fail(outcome.error.reason)
        }
        return outcome
      })
    } catch (error) {
      // What was recorded can be found, and cleaned up, after a takeover.
      const touchedNothing = run.epoch === 1 && !attempt.acted && !attempt.recorded
      if (error instanceof LeaseLostError || error instanceof RunStopped) return touchedNothing ? notActed : undefined
      log.error({ err: error, run_id: run.runId, action: run.action }, 'adapter threw an unexpected error')
      return unknown('INTERNAL', 'something went wrong here while acting; whether it took effect is not known')
    }
  }

  /**
   * Retries until it is written, however long the store is unavailable: no other process knows this outcome. Runs cannot begin meanwhile,
   * so few wait.
   */
  async #end(run: Run, outcome: Outcome, acted: boolean): Promise<Run> {
    const { store, outbox, waiter, metrics, log } = this.#parts
    const end = { runId: run.runId, epoch: run.epoch, notifyAfterMs, acted, event: endEvent(run, outcome), ...ending(outcome) }
    const ended = await this.#written(end, () => store.endRun(end))
    if (ended !== undefined) {
      metrics.ended(ended, currentScope()?.trace)
      waiter.tell(ended)
      outbox.tell(ended)
      return ended
    }
    log.warn({ run_id: run.runId, outcome: outcome.status }, 'run result came after a takeover')
    return (await this.#endLate(run, outcome)) ?? (await store.findRun(run.runId)) ?? run
  }

  /** This owner may know more than the process that took the run over could find out. */
  async #endLate(run: Run, outcome: Outcome): Promise<Run | undefined> {
    const { store, outbox, waiter, metrics, log } = this.#parts
    const { status } = outcome
    if (status === 'unknown') return undefined
    const end = { runId: run.runId, epoch: run.epoch, notifyAfterMs, event: endEvent(run, outcome), ...ending(outcome), status }
    for (let wait = firstWaitMs; ; wait = nextWaitMs(wait)) {
      const late = await this.#written(end, () => store.endLate(end))
      if (late !== undefined) {
        log.warn({ run_id: run.runId, outcome: status, was: late.was }, 'wrote the outcome that an earlier owner reported')
        metrics.endedLate(late.run)
        if (late.was === 'executing') metrics.ended(late.run, currentScope()?.trace)
        waiter.tell(late.run)
        outbox.tell(late.run)
        return late.run
      }
      // A failure waits for what the current owner finds.
      const now = await this.#written(end, () => store.findRun(run.runId))
      if (now === undefined || hasEnded(now)) {
        if (now !== undefined && now.status !== status)
          log.error({ run_id: run.runId, outcome: status, stays: now.status }, 'an earlier owner reports another outcome')
        return now
      }
      await this.#pause(wait)
      if (this.#stop.signal.aborted) return undefined
    }
  }

  /** Throws what `write` throws, but not while the store is unavailable. */
  async #written<T>({ runId, status }: { runId: string; status: string }, write: () => Promise<T>): Promise<T> {
    for (let wait = firstWaitMs; ; wait = nextWaitMs(wait)) {
      try {
        return await write()
      } catch (error) {
        if (!isUnavailable(error) || this.#stop.signal.aborted) throw error
        this.#parts.log.warn({ run_id: runId, outcome: status }, 'the end of a run cannot be written yet; will retry')
        await this.#pause(wait)
      }
    }
  }

  async #pause(ms: number): Promise<void> {
    await pause(ms, undefined, { signal: this.#stop.signal }).catch(() => undefined)
  }
}

const lastWritesMs = 5000
const firstWaitMs = 50
const nextWaitMs = (wait: number): number => Math.min(wait * 2, 1000)

/** For the caller, whichever process ends the run. Created once: writing the end again is the same event. */
function endEvent(run: Run, outcome: Outcome): AuditEvent {
  const targets = [`run:${run.runId}`, `preview:${run.previewId}`]
  const reason = outcome.status === 'success' ? undefined : outcome.error.reason
  return auditEvent('actions', run, { action: 'actions.execute', outcome: outcome.status, reason, targets })
}

/** The first owner executes; a takeover finds out what happened. */
function call(adapter: Adapter, run: Run, handle: RunHandle): Promise<Outcome> {
  let params: unknown
  try {
    params = parseParams(adapter, parseCanonical(run.params))
  } catch (error) {
    if (!(error instanceof MeshError)) throw error
    // The action's schema became stricter after the preview: what was shown can no longer be done, and nothing else may be.
    const changed = {
      reason: 'PARAMS_NO_LONGER_VALID' satisfies ExecutorReason,
      message: 'the action no longer accepts these parameters; preview again',
    }
    return Promise.resolve({ status: run.epoch === 1 ? 'failed' : 'unknown', error: changed })
  }
  return run.epoch === 1 ? adapter.execute(params, handle) : adapter.reconcile(params, handle)
}
