/**
 * Previews, runs and the outbox, in domain words. Every time is the store's own clock. An act and its audit event are written in one step:
 * both exist or neither.
 */
import type { AuditEvent, Principal } from '#mesh/audit/event.ts'
import type { HeartbeatResult, Timing } from '#mesh/heartbeat.ts'
import type { Run, RunKey, RunStatus } from './runs/run.ts'

export interface Preview {
  readonly previewId: string
  readonly workspace: string
  readonly actor: string
  readonly action: string
  readonly provider: string
  readonly params: Buffer
  readonly connectionId: string | undefined
  readonly expiresAt: Date
  /** By the store's clock, when it was read. */
  readonly expired: boolean
}

export interface NewPreview extends Omit<Preview, 'expiresAt' | 'expired'> {
  summary: string
  warnings: string[]
  ttlMs: number
  event: AuditEvent
}

export interface NewRun {
  runId: string
  attemptId: string
  previewId: string
  key: RunKey
  leaseMs: number
  /** Stored with the run: the process that writes its end tells the audit log who the caller was. */
  principal: Omit<Principal, 'workspace' | 'actor'>
  /** The span that it begins in. */
  spanId: string
}

/** Whether this attempt may act, and if not, which run prevents it. */
export type BeginResult =
  | { outcome: 'begun'; run: Run }
  | { outcome: 'run-exists'; run: Run }
  | { outcome: 'preview-taken'; run: Run }
  | { outcome: 'preview-gone' }
  /** The claim was settled meanwhile, as abandoned. */
  | { outcome: 'given-up' }

export interface End {
  runId: string
  epoch: number
  status: RunStatus
  result?: string
  errorReason?: string
  error?: string
  /** Whether this owner may have had an effect. */
  acted: boolean
  /** How long the first, immediate notification may take before the relay takes over. */
  notifyAfterMs: number
  event: AuditEvent
}

/** What an earlier owner knows about its own attempt, reported after a takeover. */
export type LateResult = Omit<End, 'acted'> & { status: 'success' | 'failed' }

/** An end that the idempotency service has not been notified of. */
export interface PendingNotification extends Pick<Run, 'runId' | 'traceId' | 'spanId'> {
  key: RunKey
  attempts: number
}

export interface Store {
  /** Resolves to its expiry. */
  addPreview(preview: NewPreview): Promise<Date>
  /** A preview of that workspace, by any actor, consumed or not. */
  findPreview(previewId: string, workspace: string): Promise<Preview | undefined>
  /** Deletes previews that expired `olderThanMs` ago. Resolves to how many, at most `limit`. */
  deletePreviews(olderThanMs: number, limit: number): Promise<number>

  /**
   * Write-ahead: inserts the run with the preview's bytes and consumes the preview, in one step. Safe to repeat: an attempt that finds its
   * own row has begun.
   */
  begin(begin: NewRun): Promise<BeginResult>
  /**
   * Ensures that a run that was claimed and does not exist never will: a later or concurrent begin gets `given-up`. Returns what exists:
   * nothing for good, a run in progress, or one that ended.
   */
  giveUp(runId: string, key: RunKey): Promise<'void' | 'executing' | 'ended'>
  findRun(runId: string): Promise<Run | undefined>
  /** Undefined while it is in progress as well. */
  findEndedRun(runId: string): Promise<Run | undefined>

  /** Extends the lease; false if the run has ended or another process owns it. */
  renewLease(runId: string, epoch: number, leaseMs: number): Promise<boolean>
  /** Stores a recovery point; false as above. */
  recordPoint(runId: string, epoch: number, point: Record<string, unknown>): Promise<boolean>
  /** Writes the end, the outbox row and the audit event in one step; undefined as above. */
  endRun(end: End): Promise<Run | undefined>
  /**
   * Ends the run by what an earlier owner knows about it. A success is proof, whoever owns the run now: it ends a run in progress, and
   * replaces `unknown`. A failure says only that the earlier attempt had no effect: it replaces `unknown` if the owner right after that one
   * ended the run without having acted. Anything else that is known, or was settled, stays; undefined then. `was`: its earlier status.
   */
  endLate(end: LateResult): Promise<{ run: Run; was: RunStatus } | undefined>
  /** Reports that the store can be written to. */
  beat(timing: Timing): Promise<HeartbeatResult>
  /**
   * Takes over runs with an expired lease, each by one process: none unless the heartbeat had no gap for `leaseMs`, so that a live owner
   * would have renewed its lease. `except` are those that this process still owns.
   */
  claimExpiredRuns(options: { limit: number; leaseMs: number; gapMs: number; except: string[] }): Promise<Run[]>

  /** Claims due notifications, and defers them by `retryMs` in case the sender dies. */
  claimPending(options: { limit: number; retryMs: number }): Promise<PendingNotification[]>
  told(runIds: string[]): Promise<void>
  /** How many are pending, and since when the oldest is due, in milliseconds; counted up to 10,000. */
  pending(): Promise<{ count: number; lagMs: number }>
}
