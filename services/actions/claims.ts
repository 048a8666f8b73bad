/** The idempotency service, as the execute path needs it. */
import type { Context } from '#mesh/grpc/call.ts'
import type { RunKey } from './runs/run.ts'

export interface ClaimInput {
  key: RunKey
  /** Absent: only look. */
  fingerprint: Buffer | undefined
  /** Without a fingerprint: what the refused preview asks for. A key that belongs to something else is then a mismatch. */
  compare?: Buffer | undefined
  attemptId: string
  runId: string
}

export type Claim =
  /** The run id is the first attempt's where the claim was taken over. */
  | { outcome: 'granted'; token: string; runId: string }
  | { outcome: 'completed'; runId: string }
  | { outcome: 'in-flight'; runId: string; retryAfterMs: number }
  | { outcome: 'mismatch'; runId: string }
  | { outcome: 'absent' }

/** Any failure is DEPENDENCY_UNAVAILABLE: without a claim nothing may happen. */
export interface Claims {
  claim(ask: ClaimInput, context: Context): Promise<Claim>
  /** Gives the key back; only for work that was certainly not begun. */
  release(key: RunKey, token: string, context: Context): Promise<void>
  /** Says that the run has ended. Safe to repeat. */
  complete(key: RunKey, runId: string, context: Context): Promise<void>
  /** Claims whose lease expired at least `expiredForMs` ago, the longest expired first. */
  expired(options: { expiredForMs: number; limit: number }, context: Context): Promise<{ key: RunKey; runId: string }[]>
  /** Frees a key whose run never was and never will be. Safe to repeat. */
  abandon(key: RunKey, runId: string, context: Context): Promise<void>
}
