/**
 * When keys were last used: collected in memory and written in batches, at an interval and at the end. It is a hint for cleaning up: a
 * killed process loses a few seconds of it, and while the store is unavailable it waits.
 */
import { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { KeyStore } from './store.ts'

export interface LastUsedParts {
  store: Pick<KeyStore, 'noteUsed'>
  log: Logger
  /** In milliseconds; 10 seconds if unset. */
  intervalMs?: number
  /** Maximum keys that wait to be written; uses of further keys are lost. 10,000 if unset. */
  max?: number
}

export class LastUsed {
  readonly #store
  readonly #log
  readonly #max: number
  readonly #loop: Loop
  #uses = new Map<string, Date>()

  constructor({ store, log, intervalMs = 10_000, max = 10_000 }: LastUsedParts) {
    this.#store = store
    this.#log = log
    this.#max = max
    this.#loop = new Loop({ name: 'last used', intervalMs, log, work: () => this.#flush() })
  }

  /** An arrow function, so that it can be passed on by itself. */
  readonly note = (keyId: string, at: Date = new Date()): void => {
    const before = this.#uses.get(keyId)
    if (before === undefined ? this.#uses.size >= this.#max : before >= at) return
    this.#uses.set(keyId, at)
  }

  start(): void {
    this.#loop.start()
  }

  /** Writes the rest. */
  async stop(): Promise<void> {
    await this.#loop.stop()
    await this.#flush().catch((error: unknown) =>
      this.#log.warn({ err: error, keys: this.#uses.size }, 'last-used times of keys were lost'),
    )
  }

  async #flush(): Promise<boolean> {
    const uses = this.#uses
    this.#uses = new Map()
    try {
      await this.#store.noteUsed(uses)
    } catch (error) {
      for (const [keyId, at] of uses) this.note(keyId, at)
      throw error
    }
    return false
  }
}
