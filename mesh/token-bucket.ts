/**
 * Token buckets: a bucket holds up to `capacity` tokens, starts full, and refills evenly in `refillMs` from empty.
 *
 * The state of a bucket is one number, the time at which it is full again (as in GCRA, ITU-T I.371). A bucket whose time has passed equals
 * one that was never used, so forgetting it loses nothing.
 */

export interface Rate {
  /** Tokens in a full bucket; 0 never has any. */
  capacity: number
  /** From empty to full, in milliseconds. */
  refillMs: number
}

/** Tolerates rounding errors below a whole token. */
const tolerance = 1e-9

/** How many tokens a bucket that is full at `fullAt` has at `now`. */
export function available(fullAt: number, rate: Rate, now: number): number {
  const missingMs = Math.max(0, fullAt - now)
  return Math.max(0, Math.floor(((rate.refillMs - missingMs) * rate.capacity) / rate.refillMs + tolerance))
}

/** When it is full again after `hits` tokens are taken at `now`. Take only available tokens. */
export function afterTaking(fullAt: number, rate: Rate, now: number, hits: number): number {
  return hits === 0 ? fullAt : Math.max(now, fullAt) + (hits * rate.refillMs) / rate.capacity
}

/** Milliseconds until the bucket has one token; 0 if it has one, `refillMs` if it never will. */
export function untilOne(fullAt: number, rate: Rate, now: number): number {
  if (rate.capacity === 0) return rate.refillMs
  return Math.max(0, fullAt - now - rate.refillMs + rate.refillMs / rate.capacity)
}

/** Milliseconds until the bucket is full. */
export const untilFull = (fullAt: number, now: number): number => Math.max(0, fullAt - now)

/** Buckets by key, at most `max` of them: the one unused for longest is forgotten. */
export class TokenBuckets {
  readonly #max: number
  readonly #fullAt = new Map<string, number>()

  constructor(max: number) {
    this.#max = max
  }

  get size(): number {
    return this.#fullAt.size
  }

  /** When the bucket is full again; in the past for an unknown one. */
  fullAt(key: string): number {
    return this.#fullAt.get(key) ?? -Infinity
  }

  available(key: string, rate: Rate, now: number): number {
    return available(this.fullAt(key), rate, now)
  }

  /** Takes up to `hits` tokens. Returns how many there were to take. */
  take(key: string, rate: Rate, now: number, hits: number): number {
    const fullAt = this.fullAt(key)
    const taken = Math.min(hits, available(fullAt, rate, now))
    // A Map keeps the order of insertion: the first is the one unused for longest.
    this.#fullAt.delete(key)
    this.#fullAt.set(key, afterTaking(fullAt, rate, now, taken))
    if (this.#fullAt.size > this.#max) this.#fullAt.delete(this.#fullAt.keys().next().value!)
    return taken
  }
}
