/** The evidence that a run may be taken over (mesh/heartbeat.ts), with this service's timing. */
import { heartbeat } from '#mesh/heartbeat.ts'
import type { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { ActionMetrics } from '../metrics.ts'
import type { Store } from '../store.ts'

export interface RunHeartbeatParts {
  store: Pick<Store, 'beat'>
  metrics: Pick<ActionMetrics, 'heartbeatGap'>
  log: Logger
  leaseMs: number
}

/** No outage can let a lease expire unnoticed: lease.ts renews after a third of it. */
export const gapMs = (leaseMs: number): number => leaseMs / 3

export function runHeartbeat({ store, metrics, log, leaseMs }: RunHeartbeatParts): Loop {
  const timing = { gapMs: gapMs(leaseMs), restMs: leaseMs / 20 }
  const afterGap = 'lost runs are left to their holders for one lease'
  return heartbeat({ beat: () => store.beat(timing), intervalMs: leaseMs / 10, log, onGap: () => metrics.heartbeatGap(), afterGap })
}
