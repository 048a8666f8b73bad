/**
 * Previews, runs and the outbox, in domain words. Every time is the store's own clock. An act and the event that tells the audit log of it
 * are written in one step: both are there or neither.
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
  /** Kept with the run: whoever writes its end tells the audit log who asked. */
  principal: Omit<Principal, 'workspace' | 'actor'>
  /** The span that it begins in. */
  spanId: string
}

/** Whether this attempt may act, and if not, which run is in its way. */
export type BeginResult =
  | { outcome: 'begun'; run: Run }
  | { outcome: 'run-exists'; run: Run }
  | { outcome: 'preview-taken'; run: Run }
  | { outcome: 'preview-gone' }
  /** The claim was settled since, as one that nobody would use any more. */
  | { outcome: 'given-up' }

export interface End {
  runId: string
  epoch: number
  status: RunStatus
  result?: string
  errorReason?: string
  error?: string
  /** Whether this holder may have had an effect. */
  acted: boolean
  /** How long the first, immediate telling has before the relay takes over. */
  notifyAfterMs: number
  event: AuditEvent
}

/** What an earlier holder knows of its own attempt, told after somebody else took the run over. */
export type LateResult = Omit<End, 'acted'> & { status: 'success' | 'failed' }

/** An end that the idempotency service has not heard of. */
export interface PendingNotification extends Pick<Run, 'runId' | 'traceId' | 'spanId'> {
  key: RunKey
  attempts: number
}

export interface Store {
  /** Resolves to when it expires. */
  addPreview(preview: NewPreview): Promise<Date>
  /** A preview of that workspace, whoever made it, consumed or not. */
  findPreview(previewId: string, workspace: string): Promise<Preview | undefined>
  /** Deletes previews that expired `olderThanMs` ago; resolves to how many, at most `limit`. */
  deletePreviews(olderThanMs: number, limit: number): Promise<number>

  /** Write-ahead: inserts the run with the preview's bytes and consumes the preview, in one step. Safe to repeat: an attempt that finds
   *  its own row has begun. */
  begin(begin: NewRun): Promise<BeginResult>
  /**
   * Makes sure that a run which was claimed and does not exist never will: a begin that comes later, or is under way, gets `given-up`. Says
   * what there is: nothing for good, a run under way, or one that ended.
   */
  giveUp(runId: string, key: RunKey): Promise<'void' | 'executing' | 'ended'>
  findRun(runId: string): Promise<Run | undefined>
  /** Undefined while it is under way too. */
  findEndedRun(runId: string): Promise<Run | undefined>

  /** Extends the lease; false when the run has ended or is somebody else's by now. */
  renewLease(runId: string, epoch: number, leaseMs: number): Promise<boolean>
  /** Keeps a recovery point; false as above. */
  recordPoint(runId: string, epoch: number, point: Record<string, unknown>): Promise<boolean>
  /** Writes the end, the outbox row and the audit event in one step; undefined as above. */
  endRun(end: End): Promise<Run | undefined>
  /**
   * Ends the run by what an earlier holder knows of it. A success is proof, whoever holds the run now: it ends one that is under way, and
   * replaces `unknown`. A failure says only that the earlier attempt had no effect: it replaces `unknown` where the holder right after that
   * one ended the run without having acted. Whatever else is known, or was settled, stays; undefined then. `was`: what it was before.
   */
  endLate(end: LateResult): Promise<{ run: Run; was: RunStatus } | undefined>
  /** Says that the store can be written to. */
  beat(timing: Timing): Promise<HeartbeatResult>
  /**
   * Takes over runs whose lease ran out, each by one taker: none unless the store was beaten without a gap for `leaseMs`, so that a holder
   * that is alive would have renewed its lease. `except` are those this process still holds.
   */
  claimExpiredRuns(options: { limit: number; leaseMs: number; gapMs: number; except: string[] }): Promise<Run[]>

  /** Takes what is due to be told, and puts it off by `retryMs` in case the teller dies. */
  claimPending(options: { limit: number; retryMs: number }): Promise<PendingNotification[]>
  told(runIds: string[]): Promise<void>
  /** How many wait to be told, and since when the oldest is due, in milliseconds; counted up to 10,000. */
  pending(): Promise<{ count: number; lagMs: number }>
}
