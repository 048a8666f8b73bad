/** Counts in Redis, in fixed windows that all replicas share; one round trip per decision. */
import type { Redis } from 'ioredis'
import { Script } from '#mesh/redis/script.ts'
import type { Counter, RateLimitStore, TakeResult } from './store.ts'
import { counterKey, takeScript } from './window.ts'

export class RedisStore implements RateLimitStore {
  readonly #redis: Redis
  readonly #script = new Script(takeScript)

  constructor(redis: Redis) {
    this.#redis = redis
    this.#script.keepLoaded(redis)
  }

  async take(counters: readonly Counter[], hits: number): Promise<TakeResult> {
    const args = counters.flatMap(({ limit, windowMs }) => [limit, windowMs])
    const reply = (await this.#script.run(
      this.#redis,
      counters.map(({ key }) => key),
      [hits, ...args],
    )) as number[]
    const capacities = counters.map((_, index) => ({
      granted: reply[3 * index + 1]!,
      remaining: reply[3 * index + 2]!,
      resetMs: reply[3 * index + 3]!,
    }))
    return { source: 'redis', granted: reply[0]!, capacities }
  }

  /** Does what a decision does, on a separate counter: a full or read-only Redis would still answer a PING. */
  async probe(): Promise<void> {
    await this.take([{ key: counterKey('probe', []), limit: 1_000_000_000, windowMs: 1000 }], 1)
  }
}
