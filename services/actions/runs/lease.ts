/**
 * A lease as its owner sees it, in one of three states:
 *
 *   held ──(not renewed in time)──► expired ──(renewed)──► held
 *     └──────────────┬──────────────────┘
 *        (the store says: owned by another) ──► lost, for good
 *
 * The owner of an expired lease may still own the run: a takeover must wait for the store (store.ts, claimExpiredRuns). So it does not act,
 * keeps waiting for what it has begun, and asks the store until it knows.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { RunStopped } from '../adapter.ts'

/** Thrown if the run is no longer owned: another process may be acting by now. */
export class LeaseLostError extends Error {
  override readonly name = 'LeaseLostError'
}

export interface LeaseParts {
  /** When the request that granted the lease was sent, by performance.now(): the grant cannot be older than that. */
  since: number
  leaseMs: number
  /** Extends it by leaseMs; false if another process owns it. An error leaves it as it is. */
  renew: () => Promise<boolean>
}

/** The part of its lease that the owner does not use, so that a clock up to a tenth slower than the store's does no harm. */
const marginShare = 0.1
const renewShare = 1 / 3
/** After a failed renewal: soon, because the lease expires. */
const retryShare = 1 / 15

/**
 * Both clocks of this machine, because each misses something: the monotonic one stops while the machine sleeps, the other can be set. Both
 * continue while the process is stopped.
 */
interface LeaseTime {
  monotonic: number
  wall: number
}

export class Lease {
  readonly #parts: LeaseParts
  #held: LeaseTime
  #lost = false
  #stopped = false
  #next: NodeJS.Timeout | undefined
  #renewing: Promise<void> | undefined

  constructor(parts: LeaseParts) {
    this.#parts = parts
    const ago = performance.now() - parts.since
    this.#held = this.#until({ monotonic: parts.since, wall: Date.now() - ago })
    this.#schedule(parts.leaseMs * renewShare - ago)
  }

  /** Whether the store has said that another process owns it. */
  get isLost(): boolean {
    return this.#lost
  }

  /**
   * Resolves at once while it is held; if it expired, once the store has renewed it. Throws LeaseLostError, and RunStopped once `signal`
   * aborts.
   */
  async assertHeld(signal: AbortSignal): Promise<void> {
    for (;;) {
      if (this.#lost) throw new LeaseLostError('the run is no longer held')
      if (this.#isHeld()) return
      if (signal.aborted) throw new RunStopped("the run's time was up while its lease could not be renewed")
      await this.#renew()
      if (!this.#lost && !this.#isHeld()) await pause(this.#parts.leaseMs * retryShare, undefined, { signal }).catch(() => undefined)
    }
  }

  lose(): void {
    this.#lost = true
    this.stop()
  }

  /** Ends the renewals; the lease then expires by itself. */
  stop(): void {
    this.#stopped = true
    clearTimeout(this.#next)
  }

  #isHeld(): boolean {
    return performance.now() < this.#held.monotonic && Date.now() < this.#held.wall
  }

  #until(from: LeaseTime): LeaseTime {
    const heldMs = this.#parts.leaseMs * (1 - marginShare)
    return { monotonic: from.monotonic + heldMs, wall: from.wall + heldMs }
  }

  #schedule(waitMs: number): void {
    clearTimeout(this.#next)
    if (!this.#stopped) this.#next = setTimeout(() => void this.#renew(), Math.max(0, waitMs))
  }

  /** One renewal at a time; never throws. */
  #renew(): Promise<void> {
    this.#renewing ??= this.#ask().finally(() => (this.#renewing = undefined))
    return this.#renewing
  }

  async #ask(): Promise<void> {
    const { leaseMs, renew } = this.#parts
    const sent = { monotonic: performance.now(), wall: Date.now() }
    try {
      if (!(await renew())) {
        this.lose()
        return
      }
      this.#held = this.#until(sent)
      this.#schedule(leaseMs * renewShare)
    } catch {
      // The store does not respond: the grant is valid until it expires.
      this.#schedule(leaseMs * retryShare)
    }
  }
}
