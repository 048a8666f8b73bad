/**
 * Evidence, in the store itself, that the store can be written to. Every replica beats; the row says since when it was beaten without a gap.
 * Who finds that a lease ran out may take the run over only after a full lease of that: until then its holder may be alive, and may not have
 * been able to say so. No replica's memory counts: one that has just started, or that was cut off alone, reads the same row.
 */
import { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { Store } from './store.ts'

export interface HeartbeatParts {
  store: Pick<Store, 'beat'>
  log: Logger
  leaseMs: number
}

/**
 * How long the row may go without a beat before that is a gap: less than what a holder that renews in time has left of its lease, so that no
 * outage can let a lease run out and go unseen. lease.ts renews after a third.
 */
export const gapMs = (leaseMs: number): number => leaseMs / 3

export class Heartbeat {
  readonly #parts: HeartbeatParts
  readonly #loop: Loop

  constructor(parts: HeartbeatParts) {
    this.#parts = parts
    this.#loop = new Loop({ name: 'heartbeat', everyMs: parts.leaseMs / 10, log: parts.log, work: () => this.beat() })
  }

  start(): void {
    this.#loop.start()
  }

  stop(): Promise<void> {
    return this.#loop.stop()
  }

  async beat(): Promise<boolean> {
    const { store, leaseMs, log } = this.#parts
    const { afterGap } = await store.beat({ gapMs: gapMs(leaseMs), restMs: leaseMs / 20 })
    if (afterGap) log.warn('the database was not written to for a while: lost runs are left to their holders for one lease')
    return false
  }
}
