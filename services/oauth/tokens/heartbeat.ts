/** The evidence that a refresh may be taken over (mesh/heartbeat.ts), in the time of this service. */
import { heartbeat } from '#mesh/heartbeat.ts'
import type { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { ConnectionStore } from '../connections/store.ts'

const intervalMs = 300

export const connectionHeartbeat = ({ store, log }: { store: Pick<ConnectionStore, 'beat'>; log: Logger }): Loop =>
  heartbeat({ beat: () => store.beat(), everyMs: intervalMs, log, afterGap: 'refreshes under way are left to their holders' })
