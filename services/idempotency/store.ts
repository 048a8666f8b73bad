/**
 * Where claims are kept. Every method is one step of claim.ts, taken whole or not at all whoever else asks at the same time, by the clock
 * of the store. A store that cannot be reached throws DEPENDENCY_UNAVAILABLE, and the outcome is then not known; all are safe to repeat.
 */
import type { Answer, Asked, ClaimKey, Completion, Fenced, Renewal } from './claim.ts'

export interface ClaimStore {
  claim(key: ClaimKey, asked: Asked): Promise<Answer>
  renew(key: ClaimKey, renewal: Renewal): Promise<Fenced>
  complete(key: ClaimKey, completion: Completion): Promise<Fenced>
  release(key: ClaimKey, token: string): Promise<Fenced>
  abandon(key: ClaimKey, runId: string): Promise<void>
  /** Claims of these kinds in flight whose lease expired `expiredForMs` ago or earlier, the longest expired first. */
  expired(options: { kinds: readonly string[]; expiredForMs: number; limit: number }): Promise<Expired[]>
  /** Removes completed claims that no longer answer, `most` at the most, and says how many. What is in flight stays, however old. */
  reap(most: number): Promise<number>
  lapsed(): Promise<Lapsed>
}

/** The claims in flight whose lease ran out: nobody works on them that we know of, and nobody has taken them over. */
export interface Lapsed {
  count: number
  /** How long ago the first of these leases ran out, in milliseconds; 0 when there are none. */
  oldestMs: number
}

/** Whose run the service that keeps it has to look at. */
export interface Expired {
  key: ClaimKey
  runId: string
}
