/** A run: one execution of one preview. Pure. */
import type { TraceContext } from '#mesh/telemetry/trace-context.ts'
import type { Outcome } from '../adapter.ts'
import type { Settlement } from './settlement.ts'

export type RunStatus = 'executing' | 'success' | 'failed' | 'unknown'

/** Reasons of ends that come from the executor, not from an adapter. */
export const executorReasons = [
  'ACTION_GONE', // unknown: this release does not have the action any more
  'ATTEMPTS_EXHAUSTED', // unknown: every owner was lost
  'PARAMS_NO_LONGER_VALID', // failed, or unknown after a crash: the action's schema became stricter
  'NOT_ACTED', // failed: the first owner lost the run, or could not be sure of it, before it did anything
  'INTERNAL', // unknown: the adapter threw an unexpected error
] as const
export type ExecutorReason = (typeof executorReasons)[number]

/** The owner of the key of a claim: the client, or the preview itself if the client sent none. */
export type KeyKind = 'client' | 'preview'

export interface RunKey {
  workspace: string
  kind: KeyKind
  key: string
}

export interface Run {
  readonly runId: string
  readonly previewId: string
  /** The attempt that inserted it. */
  readonly attemptId: string
  readonly workspace: string
  readonly actor: string
  readonly action: string
  readonly provider: string
  /** Canonical JSON: exactly the bytes that were previewed. */
  readonly params: Buffer
  /** The account that acts: the one that was previewed. */
  readonly connectionId: string | undefined
  readonly keyKind: KeyKind
  readonly key: string
  readonly status: RunStatus
  /** Raised by each takeover; a writer with an older epoch is rejected. */
  readonly epoch: number
  readonly recovery: Record<string, unknown> | undefined
  /** How long ago that was recorded when the run was read, in milliseconds of the store's clock; undefined if unknown. */
  readonly recordedAgoMs: number | undefined
  readonly result: Record<string, unknown> | undefined
  readonly errorReason: string | undefined
  readonly error: string | undefined
  /** The API key that executed it, and its source address; empty in runs from before these were stored. */
  readonly keyId: string
  readonly source: string
  readonly requestId: string
  /** Of the execute; spanId is empty in runs from before it was stored. */
  readonly traceId: string
  readonly spanId: string
  readonly startedAt: Date
  readonly endedAt: Date | undefined
  /** Whether its parameters and result were deleted since: `params` is empty then. */
  readonly detailsRemoved: boolean
  /** A person's verdict, after it had ended as `unknown`. */
  readonly settlement: Settlement | undefined
}

/**
 * Marks a run that was claimed and never began: it keeps a late begin from committing. It belongs to no workspace, so no caller sees it.
 */
export const isVoid = (run: Pick<Run, 'workspace'>): boolean => run.workspace === ''

export const hasEnded = (run: Run): boolean => run.status !== 'executing'

/** The span that it began in, to link to; whether that is recorded is no longer known. */
export const traceOf = ({ traceId, spanId }: Pick<Run, 'traceId' | 'spanId'>): TraceContext[] =>
  spanId === '' ? [] : [{ traceId, spanId, sampled: false }]

/** Whole milliseconds from start to end; undefined while in progress. */
export const durationMs = (run: Pick<Run, 'startedAt' | 'endedAt'>): number | undefined =>
  run.endedAt === undefined ? undefined : Math.max(0, run.endedAt.getTime() - run.startedAt.getTime())

/** An outcome as the run stores it: the public error begins with its reason. */
export function ending(outcome: Outcome): { status: RunStatus; result?: string; errorReason?: string; error?: string } {
  const result = outcome.result === undefined ? undefined : JSON.stringify(outcome.result)
  if (outcome.status === 'success') return { status: 'success', result }
  const { reason, message } = outcome.error
  return { status: outcome.status, result, errorReason: reason, error: `${reason}: ${message}` }
}
