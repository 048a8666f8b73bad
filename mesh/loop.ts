/** Work that comes round again: with jitter, so that replicas do not march in step; at once while there is more; quietly when it fails. */
import { setTimeout as pause } from 'node:timers/promises'
import { doublingMs } from './backoff.ts'
import type { Logger } from './telemetry/log.ts'

export interface LoopParts {
  name: string
  intervalMs: number
  /** While rounds fail, the wait doubles up to this, in milliseconds; it stays `intervalMs` when unset. */
  failingMs?: number
  log: Logger
  /** True when there may be more to do at once. */
  work: () => Promise<boolean>
}

export class Loop {
  readonly #parts: LoopParts
  readonly #stop = new AbortController()
  #pause = new AbortController()
  #failures = 0
  #running: Promise<void> | undefined

  constructor(parts: LoopParts) {
    this.#parts = parts
  }

  start(): void {
    this.#running ??= this.#run()
  }

  /** Has a round follow at once, also after the one under way. What fails is left to its wait: it is not for callers to press it. */
  wake(): void {
    if (this.#failures === 0) this.#pause.abort()
  }

  /** Resolves when the round under way is done. */
  async stop(): Promise<void> {
    this.#stop.abort()
    this.#pause.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { name, intervalMs, failingMs = intervalMs, log, work } = this.#parts
    while (!this.#stop.signal.aborted) {
      this.#pause = new AbortController()
      let more = false
      try {
        more = await work()
        if (this.#failures > 0) log.info({ loop: name }, 'works again')
        this.#failures = 0
      } catch (error) {
        // Said once an outage, not once a round; one that was cut by the end is none.
        if (this.#failures === 0 && !this.#stop.signal.aborted) log.warn({ err: error, loop: name }, 'a round failed; it is tried again')
        this.#failures += 1
      }
      if (more) continue
      const waitMs = doublingMs(this.#failures, intervalMs, Math.max(intervalMs, failingMs))
      await pause(waitMs * (0.75 + Math.random() / 2), undefined, { signal: this.#pause.signal }).catch(() => undefined)
    }
  }
}
