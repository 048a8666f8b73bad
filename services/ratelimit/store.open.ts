/**
 * Redis while it answers, the in-process buckets while it does not: a decision never fails and never takes longer than the limit allows.
 * After one failure nobody waits for Redis again until a probe in the background has found it working.
 */
import { Breaker } from '#mesh/breaker.ts'
import type { Counter, FallbackReason, RateLimitStore, TakeResult } from './store.ts'

export interface OpenStoreParts {
  redis: RateLimitStore & { probe(): Promise<void> }
  local: RateLimitStore
  /** How long Redis may take for a decision, in milliseconds. */
  limitMs: number
  /** Between probes, in milliseconds. */
  probeEveryMs?: number
  onFallback(reason: FallbackReason): void
  onChange: ConstructorParameters<typeof Breaker>[0]['onChange']
}

class Silence extends Error {}

/** A probe may take longer than a decision: nobody waits for it. */
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
      this.#breaker.open(silent ? `no answer in ${this.#parts.limitMs} ms` : String(error))
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

/** Rejects with Silence when the work is not done in time. What it answers later is dropped. */
function within<T>(work: Promise<T>, limitMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    // Timers run before sockets are read: after a pause of this very process the answer may be there already, so it is looked for first.
    const timer = setTimeout(() => setImmediate(() => reject(new Silence())), limitMs)
    work.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
