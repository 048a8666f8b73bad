/**
 * Evidence, in a database itself, that it can be written to. All replicas of a service update one row, which says since when it was updated
 * without a gap. A replica that finds an expired lease may take over only after a full lease of such updates: before that, the owner may be
 * alive and unable to write. No replica's memory counts: a replica that has just started, or was cut off alone, reads the same row
 * (postgres/heartbeat.ts).
 */
import { Loop } from './loop.ts'
import type { Logger } from './telemetry/log.ts'

export interface Timing {
  /** Maximum time between updates before it counts as a gap: less than what an owner that renews in time has left of its lease. */
  gapMs: number
  /** An update so soon after another one, by any replica, writes nothing. */
  restMs: number
}

export interface HeartbeatResult {
  /** The row was not updated for longer than `gapMs`, or its clock went back, or it is the first update. */
  afterGap: boolean
}

export interface HeartbeatParts {
  beat: () => Promise<HeartbeatResult>
  intervalMs: number
  log: Logger
  /** Counts the gap. */
  onGap: () => void
  /** The consequence of a gap for this service, for its log. */
  afterGap: string
}

export function heartbeat({ beat: once, intervalMs, log, onGap, afterGap }: HeartbeatParts): Loop {
  const work = async () => {
    if ((await once()).afterGap) {
      onGap()
      log.warn(`no replica could write to the database for a while: ${afterGap}`)
    }
    return false
  }
  return new Loop({ name: 'heartbeat', intervalMs, log, work })
}
