/**
 * Where claims are kept. Every method is one step of claim.ts, taken whole or not at all whoever else asks at the same time, by the clock
 * of the store. A store that cannot be reached throws DEPENDENCY_UNAVAILABLE, and the outcome is then not known; all are safe to repeat.
 */
import type { Decision, ClaimRequest, ClaimKey, Completion, FencedResult, Renewal } from './claim.ts'

export interface ClaimStore {
  claim(key: ClaimKey, asked: ClaimRequest): Promise<Decision>
  renew(key: ClaimKey, renewal: Renewal): Promise<FencedResult>
  complete(key: ClaimKey, completion: Completion): Promise<FencedResult>
  release(key: ClaimKey, token: string): Promise<FencedResult>
  abandon(key: ClaimKey, runId: string): Promise<void>
  /** Claims of these kinds in flight whose lease expired `expiredForMs` ago or earlier, the longest expired first. */
  expired(options: { kinds: readonly string[]; expiredForMs: number; limit: number }): Promise<ExpiredRecords[]>
  /** Removes completed claims that no longer answer, `most` at the most, and says how many. What is in flight stays, however old. */
  reap(max: number): Promise<number>
  expiredClaims(): Promise<ExpiredClaims>
}

/** The claims in flight whose lease ran out: nobody works on them that we know of, and nobody has taken them over. */
export interface ExpiredClaims {
  count: number
  /** How long ago the first of these leases ran out, in milliseconds; 0 when there are none. */
  oldestMs: number
}

/** Whose run the service that keeps it has to look at. */
export interface ExpiredRecords {
  key: ClaimKey
  runId: string
}
