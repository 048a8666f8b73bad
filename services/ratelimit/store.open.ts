/**
 * Redis while it responds, the in-process buckets while it does not: a decision never fails and never takes longer than the timeout allows.
 * After one failure no decision waits for Redis until a probe in the background succeeds.
 */
import { Breaker } from '#mesh/breaker.ts'
import type { Counter, FallbackReason, RateLimitStore, TakeResult } from './store.ts'

export interface OpenStoreParts {
  redis: RateLimitStore & { probe(): Promise<void> }
  local: RateLimitStore
  /** Timeout of Redis per decision, in milliseconds. */
  limitMs: number
  /** Interval between probes, in milliseconds. */
  probeEveryMs?: number
  onFallback(reason: FallbackReason): void
  onChange: ConstructorParameters<typeof Breaker>[0]['onChange']
}

class Silence extends Error {}

/** A probe may take longer than a decision, because nothing waits for it. */
const probeLimitMs = 200

export class OpenStore implements RateLimitStore {
  readonly #parts: OpenStoreParts
  readonly #breaker: Breaker

  constructor(parts: OpenStoreParts) {
    this.#parts = parts
    this.#breaker = new Breaker({
      probe: () => within(parts.redis.probe(), probeLimitMs),
      intervalMs: parts.probeEveryMs ?? 250,
      onChange: parts.onChange,
    })
  }

  /** Whether decisions come from Redis. */
  get up(): boolean {
    return this.#breaker.closed
  }

  async take(counters: readonly Counter[], hits: number): Promise<TakeResult> {
    if (!this.#breaker.closed) return this.#takeLocally(counters, hits, 'open')
    try {
      return await within(this.#parts.redis.take(counters, hits), this.#parts.limitMs)
    } catch (error) {
      const silent = error instanceof Silence
      this.#breaker.open(silent ? `no response within ${this.#parts.limitMs} ms` : String(error))
      return this.#takeLocally(counters, hits, silent ? 'timeout' : 'error')
    }
  }

  stop(): void {
    this.#breaker.stop()
  }

  #takeLocally(counters: readonly Counter[], hits: number, reason: FallbackReason): Promise<TakeResult> {
    this.#parts.onFallback(reason)
    return this.#parts.local.take(counters, hits)
  }
}

/** Rejects with Silence if the work is not done in time. A later result is dropped. */
function within<T>(work: Promise<T>, limitMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    // Timers run before sockets are read: after a pause of this process the response may already have arrived, so it checks that first.
    const timer = setTimeout(() => setImmediate(() => reject(new Silence())), limitMs)
    work.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
