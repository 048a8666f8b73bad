/** Counts in this process, in token buckets: exact for one replica, lost when it ends. It always responds. */
import { TokenBuckets, untilFull, untilOne } from '#mesh/token-bucket.ts'
import type { Counter, RateLimitStore, Capacity, Source, TakeResult } from './store.ts'

/** Hits taken from a bucket stay valid for at least this long, in milliseconds. */
const minResetMs = 1000

export class MemoryStore implements RateLimitStore {
  readonly #source: Source
  readonly #now: () => number
  readonly #buckets: TokenBuckets

  /** `now` is a monotonic clock, in milliseconds; `max` limits the number of buckets. */
  constructor(parts: { source: Source; now: () => number; max?: number }) {
    this.#source = parts.source
    this.#now = parts.now
    this.#buckets = new TokenBuckets(parts.max ?? 100_000)
  }

  async take(counters: readonly Counter[], hits: number): Promise<TakeResult> {
    const now = this.#now()
    const capacities = counters.map((counter) => Math.min(hits, this.#buckets.available(counter.key, rateOf(counter), now)))
    const granted = Math.min(...capacities)
    return {
      source: this.#source,
      granted,
      capacities: counters.map((counter, index) => this.#takeOne(counter, now, granted, capacities[index]!)),
    }
  }

  #takeOne(counter: Counter, now: number, hits: number, granted: number): Capacity {
    const rate = rateOf(counter)
    this.#buckets.take(counter.key, rate, now, hits)
    const fullAt = this.#buckets.fullAt(counter.key)
    const remaining = this.#buckets.available(counter.key, rate, now)
    const resetMs = remaining === 0 ? untilOne(fullAt, rate, now) : Math.max(minResetMs, untilFull(fullAt, now))
    return { granted, remaining, resetMs: Math.ceil(resetMs) }
  }
}

const rateOf = (counter: Counter) => ({ capacity: counter.limit, refillMs: counter.windowMs })
