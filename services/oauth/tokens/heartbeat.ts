/** The evidence that a refresh may be taken over (mesh/heartbeat.ts), with this service's timing. */
import { heartbeat } from '#mesh/heartbeat.ts'
import type { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { ConnectionStore } from '../connections/store.ts'
import type { Instruments } from '../metrics.ts'

const intervalMs = 300

export interface ConnectionHeartbeatParts {
  readonly store: Pick<ConnectionStore, 'beat'>
  readonly instruments: Pick<Instruments, 'heartbeatGaps'>
  readonly log: Logger
}

export function connectionHeartbeat({ store, instruments, log }: ConnectionHeartbeatParts): Loop {
  const afterGap = 'refreshes in progress are left to their holders'
  return heartbeat({ beat: () => store.beat(), intervalMs: intervalMs, log, onGap: () => instruments.heartbeatGaps.inc(), afterGap })
}
