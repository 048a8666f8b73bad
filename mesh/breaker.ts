/** Keeps callers from waiting for something that is away: one failure opens it, a probe in the background closes it again. */

import { runDetached } from './telemetry/scope.ts'

export interface BreakerParts {
  /** Resolves when the other side does its work again; brings its own time limit. */
  probe: () => Promise<unknown>
  /** Between probes, in milliseconds; each wait is up to a fifth shorter or longer, so that replicas do not all ask at once. */
  intervalMs: number
  /** Called once a change. `unavailableMs` is how long it was open. */
  onChange: (change: { closed: false; reason: string } | { closed: true; unavailableMs: number }) => void
}

export class Breaker {
  readonly #parts: BreakerParts
  #openedAt: number | undefined
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  constructor(parts: BreakerParts) {
    this.#parts = parts
  }

  /** Whether the other side is to be asked. */
  get closed(): boolean {
    return this.#openedAt === undefined
  }

  /** Opens it. Says so once, however many callers find out at the same time. */
  open(reason: string): void {
    if (this.#openedAt !== undefined || this.#stopped) return
    this.#openedAt = performance.now()
    this.#parts.onChange({ closed: false, reason })
    this.#schedule()
  }

  /** Ends the probing. */
  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  #schedule(): void {
    if (this.#stopped) return
    // A request opens it, and goes; what is found out from then on is nobody's in particular.
    const probe = runDetached(() => void this.#probe())
    this.#timer = setTimeout(probe, this.#parts.intervalMs * (0.8 + 0.4 * Math.random()))
    this.#timer.unref()
  }

  async #probe(): Promise<void> {
    try {
      await this.#parts.probe()
    } catch {
      this.#schedule()
      return
    }
    if (this.#openedAt === undefined || this.#stopped) return
    const unavailableMs = Math.round(performance.now() - this.#openedAt)
    this.#openedAt = undefined
    this.#parts.onChange({ closed: true, unavailableMs })
  }
}
