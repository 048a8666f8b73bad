/** The evidence that a run may be taken over (mesh/heartbeat.ts), in the time of this service. */
import { heartbeat } from '#mesh/heartbeat.ts'
import type { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { Store } from './store.ts'

/** No outage can let a lease run out and go unseen: lease.ts renews after a third of it. */
export const gapMs = (leaseMs: number): number => leaseMs / 3

export function runHeartbeat({ store, log, leaseMs }: { store: Pick<Store, 'beat'>; log: Logger; leaseMs: number }): Loop {
  const timing = { gapMs: gapMs(leaseMs), restMs: leaseMs / 20 }
  return heartbeat({ beat: () => store.beat(timing), everyMs: leaseMs / 10, log, afterGap: 'lost runs are left to their holders for one lease' })
}
