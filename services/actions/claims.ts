/** The idempotency service, as the execute path needs it. */
import type { Context } from '#mesh/grpc/call.ts'
import type { RunKey } from './runs/run.ts'

export interface ClaimInput {
  key: RunKey
  /** Absent: only look. */
  fingerprint: Buffer | undefined
  /** Without a fingerprint: what the rejected preview requests. A key that belongs to something else is then a mismatch. */
  compare?: Buffer | undefined
  attemptId: string
  runId: string
}

export type Claim =
  /** If the claim was taken over, the run id is that of the first attempt. */
  | { outcome: 'granted'; token: string; runId: string }
  | { outcome: 'completed'; runId: string }
  | { outcome: 'in-flight'; runId: string; retryAfterMs: number }
  | { outcome: 'mismatch'; runId: string }
  | { outcome: 'absent' }

/** Any failure is DEPENDENCY_UNAVAILABLE: nothing may happen without a claim. */
export interface Claims {
  claim(ask: ClaimInput, context: Context): Promise<Claim>
  /** Releases the key; only for work that certainly did not begin. */
  release(key: RunKey, token: string, context: Context): Promise<void>
  /** Reports that the run has ended. Safe to repeat. */
  complete(key: RunKey, runId: string, context: Context): Promise<void>
  /** Claims whose lease expired at least `expiredForMs` ago, the oldest first. */
  expired(options: { expiredForMs: number; limit: number }, context: Context): Promise<{ key: RunKey; runId: string }[]>
  /** Frees a key whose run does not exist and never will. Safe to repeat. */
  abandon(key: RunKey, runId: string, context: Context): Promise<void>
}
