/** Where hits are counted. Both engines keep the promises of test/contracts/ratelimit-store.ts. */

/** What a decision rests on: the windows of Redis, the in-process buckets, or those buckets because Redis does not answer. */
export type Source = 'redis' | 'in_process' | 'fallback'

/** Why a decision did not come from Redis: it was silent, it failed, or it was known to be away. */
export type FallbackReason = 'timeout' | 'error' | 'open'

/** One thing that is counted. */
export interface Counter {
  /** Names it among all counters of all domains (window.ts). */
  key: string
  /** Hits a window. */
  limit: number
  windowMs: number
}

/** What one counter had to give. */
export interface Capacity {
  /** How many of the hits it had room for. */
  granted: number
  /** What is left of it, after what was taken. */
  remaining: number
  /** Milliseconds until it has more to give: the end of the window; for a bucket that is empty, its next token. */
  resetMs: number
}

export interface TakeResult {
  source: Source
  /** How many hits were taken, the same number from every counter: the least of the rooms. Hits that are refused are not counted. */
  granted: number
  /** One a counter, in the order asked. */
  capacities: readonly Capacity[]
}

export interface RateLimitStore {
  /** Takes up to `hits` from all of the counters (at least one, each once) in one indivisible step. Rejects when it does not answer. */
  take(counters: readonly Counter[], hits: number): Promise<TakeResult>
}
