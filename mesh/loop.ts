/** Periodic work: with jitter, so that replicas do not run in step; at once while there is more; with backoff when it fails. */
import { setTimeout as pause } from 'node:timers/promises'
import { doublingMs } from './backoff.ts'
import type { Logger } from './telemetry/log.ts'

export interface LoopParts {
  name: string
  intervalMs: number
  /** While rounds fail, the wait doubles up to this, in milliseconds; it stays `intervalMs` if unset. */
  failingMs?: number
  log: Logger
  /** True if there may be more to do at once. */
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

  /** Starts a round at once, also after the current one. After a failure the backoff stays: callers cannot shorten it. */
  wake(): void {
    if (this.#failures === 0) this.#pause.abort()
  }

  /** Resolves when the current round is done. */
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
        // Logged once per outage, not per round; a round that the shutdown aborted is not an outage.
        if (this.#failures === 0 && !this.#stop.signal.aborted) log.warn({ err: error, loop: name }, 'a round failed; will retry')
        this.#failures += 1
      }
      if (more) continue
      const waitMs = doublingMs(this.#failures, intervalMs, Math.max(intervalMs, failingMs))
      await pause(waitMs * (0.75 + Math.random() / 2), undefined, { signal: this.#pause.signal }).catch(() => undefined)
    }
  }
}
