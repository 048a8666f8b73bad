/**
 * Stores claims. Every method is one step of claim.ts, atomic under concurrency, by the clock of the store. Throws DEPENDENCY_UNAVAILABLE
 * if the store is unreachable; the outcome is then unknown. All methods are safe to repeat.
 */
import type { Decision, ClaimRequest, ClaimKey, Completion, FencedResult, Renewal } from './claim.ts'

export interface ClaimStore {
  claim(key: ClaimKey, asked: ClaimRequest): Promise<Decision>
  renew(key: ClaimKey, renewal: Renewal): Promise<FencedResult>
  complete(key: ClaimKey, completion: Completion): Promise<FencedResult>
  release(key: ClaimKey, token: string): Promise<FencedResult>
  abandon(key: ClaimKey, runId: string): Promise<void>
  /** Claims of these kinds in flight whose lease expired at least `expiredForMs` ago, the longest expired first. */
  expired(options: { kinds: readonly string[]; expiredForMs: number; limit: number }): Promise<ExpiredRecords[]>
  /** Removes at most `max` completed claims past their retention, and returns how many. Claims in flight stay, however old. */
  reap(max: number): Promise<number>
  expiredClaims(): Promise<ExpiredClaims>
}

/** The claims in flight whose lease has expired and which no attempt has taken over. */
export interface ExpiredClaims {
  count: number
  /** How long ago the first of these leases expired, in milliseconds; 0 if there are none. */
  oldestMs: number
}

/** The claims whose run the service that keeps it must check. */
export interface ExpiredRecords {
  key: ClaimKey
  runId: string
}
