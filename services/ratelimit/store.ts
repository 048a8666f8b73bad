/** Stores hits. Both engines keep the promises of test/contracts/ratelimit-store.ts. */

/** The basis of a decision: the windows of Redis, the in-process buckets, or those buckets because Redis does not respond. */
export type Source = 'redis' | 'in_process' | 'fallback'

/** Why a decision did not come from Redis: it timed out, failed, or was known to be unavailable. */
export type FallbackReason = 'timeout' | 'error' | 'open'

/** One counter of hits. */
export interface Counter {
  /** Its unique name among all counters of all domains (window.ts). */
  key: string
  /** Hits per window. */
  limit: number
  windowMs: number
}

/** The state of one counter after a decision. */
export interface Capacity {
  /** How many of the hits it could grant. */
  granted: number
  /** The remaining hits, after those that were taken. */
  remaining: number
  /** Milliseconds until it grants more: the end of the window; for an empty bucket, its next token. */
  resetMs: number
}

export interface TakeResult {
  source: Source
  /** How many hits were taken, the same number from every counter: the minimum over all. Rejected hits are not counted. */
  granted: number
  /** One per counter, in the order of the request. */
  capacities: readonly Capacity[]
}

export interface RateLimitStore {
  /** Takes up to `hits` from all of the counters (at least one, each once) in one atomic step. Rejects if the store does not respond. */
  take(counters: readonly Counter[], hits: number): Promise<TakeResult>
}
