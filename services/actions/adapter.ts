/**
 * The port of a provider's action. The execute path (execute.ts) and the reconciler (reconciler.ts) know nothing else about it.
 *
 * The promises of an adapter:
 * - `preview` changes nothing outside; the `params` that it returns are all that `execute` gets, byte for byte.
 * - `execute` acts at most once. Before a step that cannot be undone it records a recovery point with what a later look-up needs.
 * - An outcome is `failed` only if the action certainly had no effect (or the other side rejected it), and `unknown` if that cannot be
 * known.
 * - `reconcile` never repeats an effect that the other side cannot recognise as the same one.
 */
import type { Context } from '#mesh/grpc/call.ts'
import type { z } from 'zod'
import type { ConnectedAccount, AccountRequirement } from './connections.ts'

export interface Adapter<Params = unknown> {
  /** The public name, e.g. "webhook.save". */
  readonly action: string
  /** The provider whose API it calls; "independent" if it needs no account. */
  readonly provider: string
  readonly description: string
  /** What makes a repeat recognisable at the other side, and what happens if nothing does: for callers. */
  readonly guarantee: string
  /** The parameters as a strict schema; its JSON Schema is published. */
  readonly params: z.ZodType<Params>
  /** Every reason of an outcome other than success. */
  readonly reasons: readonly string[]
  /** The account that acts; absent if none is needed. preview.ts and execute.ts report problems of the connection itself. */
  readonly requires?: AccountRequirement
  /** What to configure, if the action cannot be offered now. */
  unavailable?(): string | undefined
  /** Describes what would happen. Throws a MeshError of the actions table if it must not happen. */
  preview(params: Params, context: PreviewContext): Promise<PreviewContent>
  execute(params: Params, run: RunHandle): Promise<Outcome>
  /** Finds out, after a crash, what happened to a run; or finishes it if that is safe. */
  reconcile(params: Params, run: RunHandle): Promise<Outcome>
}

export interface PreviewContext {
  workspace: string
  actor: string
  signal: AbortSignal
  /** The account that would act; undefined if none is connected, or none is needed. */
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
  /** The connection that was previewed; undefined if no account is needed. */
  readonly connectionId: string | undefined
  /** For calls to other services: the request id of the caller, and this run's own signal. */
  readonly context: Context
  /**
   * Aborted only when the run's own deadline passes, not when the caller leaves or a lease expires. A response may still arrive for what
   * was sent, and it counts whoever owns the run by then.
   */
  readonly signal: AbortSignal
  /** What `record` stored last, in this attempt or an earlier one. */
  readonly recovery: Readonly<Record<string, unknown>> | undefined
  /** How long before this attempt that was recorded, by the store's clock, in milliseconds; undefined if unknown. */
  readonly recordedAgoMs: number | undefined
  /** The number of this attempt: 1 in execute, from 2 on in reconcile. */
  readonly attempt: number
  /** Makes a recovery point durable before it returns. Throws as assertHeld does. */
  record(point: Record<string, unknown>): Promise<void>
  /**
   * Await this right before a step that cannot be undone. Resolves at once while the run is owned. While that is unknown because the store
   * is unavailable, it waits. Throws LeaseLostError if another process owns the run, RunStopped if its time is up first.
   *
   * `acts: false`: the step comes later, and asks again. If the run is lost in between, nothing has happened.
   */
  assertHeld(options?: { acts: boolean }): Promise<void>
}

/** Thrown by a run's handle: the run's time was up before the requested step. */
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
