/**
 * What a provider's action must be able to do. The execute path (execute.ts) and the reconciler (reconciler.ts) know nothing else of it.
 *
 * The promises an adapter keeps:
 * - `preview` touches nothing outside; what it returns as `params` is all that `execute` will get, byte for byte.
 * - `execute` acts at most once. Before a step that cannot be taken back it records a recovery point with what a later look-up needs.
 * - An outcome is `failed` only when the action is known not to have taken effect (or the other side refused it), `unknown` when it cannot be known.
 * - `reconcile` never repeats an effect that the other side cannot recognise as the same one.
 */
import type { Context } from '#mesh/grpc/call.ts'
import type { z } from 'zod'
import type { ConnectedAccount, AccountRequirement } from './connections.ts'

export interface Adapter<Params = unknown> {
  /** The public name, e.g. "webhook.save". */
  readonly action: string
  /** Whose API it is; "independent" where no account is needed. */
  readonly provider: string
  readonly description: string
  /** What lets a repeat be recognised at the other side, and what is said where nothing does: for who calls. */
  readonly guarantee: string
  /** The parameters as a strict schema; its JSON Schema is published. */
  readonly params: z.ZodType<Params>
  /** Every reason that an outcome of it may have for not being a success. */
  readonly reasons: readonly string[]
  /** Whose account acts; absent where none is needed. What is wrong with the connection itself is said by preview.ts and execute.ts. */
  readonly requires?: AccountRequirement
  /** What to configure, where the action cannot be offered here now. */
  unavailable?(): string | undefined
  /** Says what would happen. Throws a MeshError of the actions table where it must not. */
  preview(params: Params, context: PreviewContext): Promise<PreviewContent>
  execute(params: Params, run: RunHandle): Promise<Outcome>
  /** Finds out, after a crash, what became of a run; or finishes it where that is safe. */
  reconcile(params: Params, run: RunHandle): Promise<Outcome>
}

export interface PreviewContext {
  workspace: string
  actor: string
  signal: AbortSignal
  /** The account that would act; undefined where none is connected, or none is needed. */
  connection?: ConnectedAccount | undefined
}

/** What a preview shows. */
export interface PreviewContent {
  /** With defaults filled in: plain JSON. */
  params: Record<string, unknown>
  summary: string
  warnings: string[]
}

/** A run as its adapter sees it. */
export interface RunHandle {
  readonly runId: string
  readonly workspace: string
  readonly actor: string
  /** The connection that was previewed; undefined where no account is needed. */
  readonly connectionId: string | undefined
  /** What calls to other services carry: the request id of who asked, and this run's own signal. */
  readonly context: Context
  /**
   * Aborted when the run's own deadline passes, by nothing else: neither the caller going away nor a lease that ran out. What was sent may
   * still be answered, and that answer counts whoever holds the run by then.
   */
  readonly signal: AbortSignal
  /** What `record` kept last, in this attempt or an earlier one. */
  readonly recovery: Readonly<Record<string, unknown>> | undefined
  /** How long before this attempt that was recorded, by the store's clock, in milliseconds; undefined where it is not known. */
  readonly recordedAgoMs: number | undefined
  /** Which attempt this is: 1 in execute, from 2 on in reconcile. */
  readonly attempt: number
  /** Makes a recovery point durable before it returns; throws as assertHeld does. */
  record(point: Record<string, unknown>): Promise<void>
  /**
   * Awaited right before a step that cannot be taken back. Resolves at once while the run is held; while that cannot be known, because the
   * store is away, it waits. Throws LeaseLost when somebody else holds the run, RunStopped when its time is up first.
   *
   * `acts: false` where the step comes later, and is asked for anew: whoever loses the run in between has had no effect.
   */
  assertHeld(options?: { acts: boolean }): Promise<void>
}

/** Thrown by a run's handle: the run's time was up before the step that it was asked for. */
export class RunStopped extends Error {
  override readonly name = 'RunStopped'
}

export type Outcome =
  | { status: 'success'; result: Record<string, unknown> }
  | { status: 'failed' | 'unknown'; error: OutcomeError; result?: Record<string, unknown> }

export interface OutcomeError {
  /** In capitals, one of the adapter's `reasons`: it labels metrics. */
  reason: string
  /** What happened, for a person; no secrets, at most a few hundred characters. */
  message: string
}
