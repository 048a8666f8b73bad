/** Keeps callers from waiting for an unavailable dependency: one failure opens it, a probe in the background closes it again. */

import { runDetached } from './telemetry/scope.ts'

export interface BreakerParts {
  /** Resolves when the dependency works again; has its own timeout. */
  probe: () => Promise<unknown>
  /**
   * The interval between probes, in milliseconds; each wait is up to a fifth shorter or longer, so that replicas do not all probe at once.
   */
  intervalMs: number
  /** Called once per change. `unavailableMs` is how long it was open. */
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

  /** Whether to call the dependency. */
  get closed(): boolean {
    return this.#openedAt === undefined
  }

  /** Opens it. Reports that once, however many callers fail at the same time. */
  open(reason: string): void {
    if (this.#openedAt !== undefined || this.#stopped) return
    this.#openedAt = performance.now()
    this.#parts.onChange({ closed: false, reason })
    this.#schedule()
  }

  /** Stops probing. */
  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  #schedule(): void {
    if (this.#stopped) return
    // A request opened it and ends; the probes belong to no request.
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
