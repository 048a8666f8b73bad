/** A lease as its holder sees it: held until a moment on this process's own monotonic clock, renewed by a heartbeat, lost for good. */

/** Thrown where the holder asks and no longer holds: somebody else may be acting by now. */
export class LeaseLost extends Error {
  override readonly name = 'LeaseLost'
}

export interface LeaseParts {
  /** When the request that granted the lease was sent, by performance.now(): the grant cannot be older than that. */
  since: number
  leaseMs: number
  /** Extends it by leaseMs; false when it is somebody else's. An error leaves it as it is. */
  renew: () => Promise<boolean>
}

export class Lease {
  readonly #parts: LeaseParts
  readonly #lost = new AbortController()
  #heldUntil: number
  #beat: NodeJS.Timeout | undefined
  #expiry: NodeJS.Timeout | undefined
  #stopped = false

  constructor(parts: LeaseParts) {
    this.#parts = parts
    this.#heldUntil = parts.since + parts.leaseMs
    this.#watchExpiry()
    this.#scheduleBeat()
  }

  /** Aborted when the lease is lost. */
  get signal(): AbortSignal {
    return this.#lost.signal
  }

  assertHeld(): void {
    if (this.#lost.signal.aborted || performance.now() >= this.#heldUntil) {
      this.lose()
      throw new LeaseLost('the run is no longer held')
    }
  }

  lose(): void {
    this.stop()
    this.#lost.abort(new LeaseLost('the run is no longer held'))
  }

  /** Ends the heartbeat; the lease runs out by itself. */
  stop(): void {
    this.#stopped = true
    clearTimeout(this.#beat)
    clearTimeout(this.#expiry)
  }

  #watchExpiry(): void {
    clearTimeout(this.#expiry)
    this.#expiry = setTimeout(() => this.lose(), Math.max(0, this.#heldUntil - performance.now()))
  }

  #scheduleBeat(): void {
    this.#beat = setTimeout(() => void this.#renew(), this.#parts.leaseMs / 3)
  }

  async #renew(): Promise<void> {
    const sent = performance.now()
    try {
      const held = await this.#parts.renew()
      if (this.#stopped) return
      if (!held) {
        this.lose()
        return
      }
      this.#heldUntil = sent + this.#parts.leaseMs
      this.#watchExpiry()
    } catch {
      // The store does not answer: what was granted still stands, until it runs out.
    }
    if (!this.#stopped) this.#scheduleBeat()
  }
}
