/** Work that comes round again: with jitter, so that replicas do not march in step; at once while there is more; quietly when it fails. */
import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from './telemetry/log.ts'

export interface LoopParts {
  name: string
  everyMs: number
  log: Logger
  /** True when there may be more to do at once. */
  work: () => Promise<boolean>
}

export class Loop {
  readonly #parts: LoopParts
  readonly #stop = new AbortController()
  #running: Promise<void> | undefined

  constructor(parts: LoopParts) {
    this.#parts = parts
  }

  start(): void {
    this.#running ??= this.#run()
  }

  /** Resolves when the round under way is done. */
  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { name, everyMs, log, work } = this.#parts
    let failing = false
    while (!this.#stop.signal.aborted) {
      let more = false
      try {
        more = await work()
        if (failing) log.info({ loop: name }, 'works again')
        failing = false
      } catch (error) {
        // Said once an outage, not once a round.
        if (!failing) log.warn({ err: error, loop: name }, 'a round failed; it is tried again')
        failing = true
      }
      if (!more) await pause(everyMs * (0.75 + Math.random() / 2), undefined, { signal: this.#stop.signal }).catch(() => undefined)
    }
  }
}
