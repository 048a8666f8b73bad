/**
 * A lease as its holder sees it, in one of three states:
 *
 *   held ──(not renewed in time)──► lapsed ──(renewed)──► held
 *     └──────────────┬──────────────────┘
 *        (the store says: somebody else's) ──► lost, for good
 *
 * Who is lapsed may still be the holder: whoever takes over has to wait for the store (store.ts, claimExpiredRuns). So a lapsed holder does not
 * act, goes on waiting for what it has begun, and asks the store until it knows.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { RunStopped } from '../adapter.ts'

/** Thrown where the holder asks and no longer holds: somebody else may be acting by now. */
export class LeaseLostError extends Error {
  override readonly name = 'LeaseLostError'
}

export interface LeaseParts {
  /** When the request that granted the lease was sent, by performance.now(): the grant cannot be older than that. */
  since: number
  leaseMs: number
  /** Extends it by leaseMs; false when it is somebody else's. An error leaves it as it is. */
  renew: () => Promise<boolean>
}

/** What the holder gives up of its lease, so that a clock that is slower than the store's by a tenth does no harm. */
const marginShare = 0.1
const renewShare = 1 / 3
/** After a renewal that failed: soon, for the lease is running out. */
const retryShare = 1 / 15

/**
 * Both clocks of this machine, since each misses something: the monotonic one stands still while the machine sleeps, the other can be set.
 * Both count on while the process is stopped.
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

  /** Whether the store has said that it is somebody else's. */
  get isLost(): boolean {
    return this.#lost
  }

  /** Resolves at once while it is held; when it is lapsed, once the store has renewed it. Throws LeaseLost, and RunStopped once `signal` is aborted. */
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

  /** Ends the renewals; the lease runs out by itself. */
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

  /** One renewal at a time, whoever asks; never throws. */
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
      // The store does not answer: what was granted still stands, until it runs out.
      this.#schedule(leaseMs * retryShare)
    }
  }
}
