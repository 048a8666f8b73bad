/** A Lua script in Redis, called by its digest: one round trip, and a few bytes instead of its text. */
import { hash } from 'node:crypto'
import type { Redis } from 'ioredis'

export class Script {
  readonly #lua: string
  /** SHA-1 of the text, in hex: its name in Redis (https://redis.io/docs/latest/commands/evalsha/). */
  readonly #digest: string

  constructor(lua: string) {
    this.#lua = lua
    this.#digest = hash('sha1', lua)
  }

  /** Loads it at every connect, so that not even the first call needs a second round trip. */
  keepLoaded(redis: Redis): void {
    // A failure to load is not a failure to call: `run` sends the text if Redis does not know it.
    const load = () => void redis.script('LOAD', this.#lua).catch(() => {})
    redis.on('ready', load)
    if (redis.status === 'ready') load()
  }

  /** Runs it. A Redis that does not know it (restarted, failed over, flushed) gets the text. */
  async run(redis: Redis, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    try {
      return await redis.evalsha(this.#digest, keys.length, ...keys, ...args)
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
      return redis.eval(this.#lua, keys.length, ...keys, ...args)
    }
  }
}
