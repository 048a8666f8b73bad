/**
 * One execute (docs/architecture.md, "One execute, followed through"): the key first, then the preview; the run row is the truth; only the
 * attempt that inserted it acts.
 */
import { randomUUID } from 'node:crypto'
import type { Principal } from '#mesh/audit/event.ts'
import { MeshError, meshErrors, isUnavailable } from '#mesh/errors.ts'
import { type Context, ownContext } from '#mesh/grpc/call.ts'
import { annotate } from '#mesh/telemetry/scope.ts'
import { fingerprint } from '../canonical.ts'
import type { Catalog } from '../catalog.ts'
import type { Claims } from '../claims.ts'
import type { RunExecutor } from './run-executor.ts'
import { type Connections, connectionRefusal } from '../connections.ts'
import { errors } from '../errors.ts'
import type { RunWaiter } from './run-waiter.ts'
import { type Run, type RunKey, hasEnded, isVoid } from './run.ts'
import type { NewRun, BeginResult, Store } from '../store.ts'

export interface ExecuteInput {
  previewId: string
  idempotencyKey: string | undefined
  principal: Principal
  context: Context
}

export interface ExecuteResult {
  run: Run
  /** Answered from an earlier run: nothing was done now. */
  replayed: boolean
}

export interface ExecuteParts {
  store: Store
  claims: Claims
  catalog: Catalog
  connections: Connections
  executor: RunExecutor
  waiter: RunWaiter
  leaseMs: number
  /** Maximum wait of a call for a run that another call executes. */
  waitMs: number
}

/**
 * What the preview allows: a fingerprint to claim with, or a rejection if the key is new as well. A readable but rejected preview still
 * says what was requested, so that a key that belongs to something else is detected.
 */
type Permission = { fingerprint: Buffer } | { refusal: MeshError; compare?: Buffer }

const retryAfterMs = 1000

export class Execution {
  readonly #parts: ExecuteParts

  constructor(parts: ExecuteParts) {
    this.#parts = parts
  }

  async execute(ask: ExecuteInput): Promise<ExecuteResult> {
    const { claims } = this.#parts
    const { workspace } = ask.principal
    const key: RunKey =
      ask.idempotencyKey === undefined
        ? { workspace, kind: 'preview', key: ask.previewId }
        : { workspace, kind: 'client', key: ask.idempotencyKey }
    const [attemptId, newRunId] = [randomUUID(), randomUUID()]
    const allowed = await this.#allowed(ask)
    const [known, compare] = 'fingerprint' in allowed ? [allowed.fingerprint, undefined] : [undefined, allowed.compare]
    if (ask.context.signal?.aborted) throw meshErrors.CANCELLED()
    // From here on a caller that leaves changes nothing: what is claimed also begins, or is released.
    const claim = await claims.claim({ key, fingerprint: known, compare, attemptId, runId: newRunId }, ownContext())
    switch (claim.outcome) {
      case 'absent':
        throw 'refusal' in allowed ? allowed.refusal : meshErrors.INTERNAL()
      case 'mismatch':
        throw errors.KEY_REUSED({ metadata: { run_id: claim.runId } })
      case 'completed':
        return this.#answerFrom(await this.#recorded(claim.runId), ask)
      case 'in-flight':
        return this.#answerFrom(claim.runId, ask)
      case 'granted':
        return this.#begin(ask, key, attemptId, claim)
    }
  }

  /**
   * Whether this preview may run now, by its own state, its action's and its account's. An unavailable store is an error, not a rejection.
   * An unavailable oauth service is a rejection, because a key that knows its run is answered without it.
   */
  async #allowed({ previewId, principal: { workspace, actor }, context }: ExecuteInput): Promise<Permission> {
    const { store, catalog, connections } = this.#parts
    const preview = await store.findPreview(previewId, workspace)
    if (preview === undefined) return { refusal: errors.PREVIEW_INVALID() }
    const asked = fingerprint(preview.action, preview.params, preview.connectionId)
    if (preview.actor !== actor || preview.expired) return { refusal: errors.PREVIEW_INVALID(), compare: asked }
    try {
      const provider = catalog.require(preview.action).requires?.provider
      if (provider !== undefined) {
        const refusal = connectionRefusal(provider, preview.connectionId, await connections.find({ workspace, actor, provider }, context))
        if (refusal !== undefined) return { refusal, compare: asked }
      }
    } catch (refusal) {
      if (refusal instanceof MeshError) return { refusal, compare: asked }
      throw refusal
    }
    return { fingerprint: asked }
  }

  async #begin(ask: ExecuteInput, key: RunKey, attemptId: string, grant: { runId: string; token: string }): Promise<ExecuteResult> {
    const { executor, claims, leaseMs } = this.#parts
    const begin: NewRun = {
      runId: grant.runId,
      attemptId,
      previewId: ask.previewId,
      key,
      leaseMs,
      principal: ask.principal,
      spanId: ask.context.trace.spanId,
    }
    annotate({ runId: grant.runId })
    const since = performance.now()
    const begun = await this.#writeAhead(begin)
    switch (begun.outcome) {
      case 'begun': {
        const run = await executor.drive(begun.run, since)
        return hasEnded(run) ? { run, replayed: false } : this.#answerFrom(run, ask)
      }
      case 'run-exists':
        // The claim was taken over, and an earlier attempt had inserted the run; or this one had, and was too late to own it.
        if (begun.run.attemptId === attemptId) executor.disown(begun.run.runId, attemptId)
        return this.#answerFrom(begun.run, ask)
      case 'preview-taken':
        await claims.release(key, grant.token, ownContext())
        if (key.kind === 'client' && begun.run.key !== key.key) throw errors.PREVIEW_ALREADY_RUN({ metadata: { run_id: begun.run.runId } })
        return this.#answerFrom(begun.run, ask)
      case 'preview-gone':
        await claims.release(key, grant.token, ownContext())
        throw errors.PREVIEW_INVALID()
      case 'given-up':
        // This attempt took so long that its claim was settled: the next one starts afresh.
        await claims.abandon(key, grant.runId, ownContext())
        throw errors.IN_PROGRESS({ retryAfterMs, metadata: { run_id: grant.runId } })
    }
  }

  /**
   * If the connection breaks here, it is open whether the row was written. Writing it again decides that: the second insert waits for the
   * first one's transaction, and finds its own row if that committed. Until then the claim is kept: nothing is released, and a takeover of
   * the claim gets this same run id. A row that was committed ends as failed, because this attempt does not act.
   */
  async #writeAhead(begin: NewRun): Promise<BeginResult> {
    const { store, executor } = this.#parts
    try {
      return await store.begin(begin)
    } catch (error) {
      if (!isUnavailable(error)) throw error
    }
    try {
      return await store.begin(begin)
    } catch (error) {
      if (isUnavailable(error)) executor.disown(begin.runId, begin.attemptId)
      throw error
    }
  }

  /** The run of a completed claim. A run outlives its claim (retention.ts), unless claims are kept for longer than runs. */
  async #recorded(runId: string): Promise<Run> {
    const run = await this.#parts.store.findRun(runId)
    if (run === undefined) {
      const message = 'The run of this Idempotency-Key is no longer kept. Use a new key for a new request.'
      throw errors.RUN_NOT_FOUND({ message, metadata: { run_id: runId } })
    }
    return run
  }

  /** The run's current outcome if it has ended or ends soon; otherwise the caller must retry. */
  async #answerFrom(run: Run | string, { context }: ExecuteInput): Promise<ExecuteResult> {
    const runId = typeof run === 'string' ? run : run.runId
    annotate({ runId })
    if (typeof run !== 'string' && hasEnded(run)) return { run, replayed: true }
    const left = context.deadline === undefined ? Infinity : context.deadline - Date.now() - 100
    const ended = await this.#parts.waiter.ended(runId, Math.max(0, Math.min(this.#parts.waitMs, left)))
    if (ended !== undefined && !isVoid(ended)) return { run: ended, replayed: true }
    throw errors.IN_PROGRESS({ retryAfterMs, metadata: { run_id: runId } })
  }
}
