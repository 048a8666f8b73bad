/** Counts in this process, in token buckets: exact for one replica, forgotten when it ends. It always answers. */
import { TokenBuckets, untilFull, untilOne } from '#mesh/token-bucket.ts'
import type { Counter, RateLimitStore, Room, Source, Taken } from './store.ts'

/** What is taken from a bucket is taken for good: a taker may rely on it for at least this long, in milliseconds. */
const leastResetMs = 1000

export class MemoryStore implements RateLimitStore {
  readonly #source: Source
  readonly #now: () => number
  readonly #buckets: TokenBuckets

  /** `now` is a clock that never goes back, in milliseconds; `most` bounds the buckets that are kept. */
  constructor(parts: { source: Source; now: () => number; most?: number }) {
    this.#source = parts.source
    this.#now = parts.now
    this.#buckets = new TokenBuckets(parts.most ?? 100_000)
  }

  async take(counters: readonly Counter[], hits: number): Promise<Taken> {
    const now = this.#now()
    const rooms = counters.map((counter) => Math.min(hits, this.#buckets.available(counter.key, rateOf(counter), now)))
    const granted = Math.min(...rooms)
    return { source: this.#source, granted, rooms: counters.map((counter, index) => this.#takeOne(counter, now, granted, rooms[index]!)) }
  }

  #takeOne(counter: Counter, now: number, hits: number, granted: number): Room {
    const rate = rateOf(counter)
    this.#buckets.take(counter.key, rate, now, hits)
    const fullAt = this.#buckets.fullAt(counter.key)
    const remaining = this.#buckets.available(counter.key, rate, now)
    const resetMs = remaining === 0 ? untilOne(fullAt, rate, now) : Math.max(leastResetMs, untilFull(fullAt, now))
    return { granted, remaining, resetMs: Math.ceil(resetMs) }
  }
}

const rateOf = (counter: Counter) => ({ capacity: counter.limit, refillMs: counter.windowMs })
