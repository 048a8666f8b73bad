/**
 * Evidence, in a database itself, that it can be written to. Every replica of a service beats one row, which says since when it was beaten
 * without a gap. Who finds that a lease expired may take over only after a full lease of that: until then its holder may be alive, and may not
 * have been able to say so. No replica's memory counts: one that has just started, or that was cut off alone, reads the same row
 * (postgres/heartbeat.ts).
 */
import { Loop } from './loop.ts'
import type { Logger } from './telemetry/log.ts'

export interface Timing {
  /** How long the row may go without a beat before that is a gap: less than what a holder that renews in time has left of its lease. */
  gapMs: number
  /** A beat so soon after another one, whichever replica's, writes nothing. */
  restMs: number
}

export interface HeartbeatResult {
  /** The row was not written for longer than `gapMs`, or its clock went back, or it is the first beat. */
  afterGap: boolean
}

export interface HeartbeatParts {
  beat: () => Promise<HeartbeatResult>
  intervalMs: number
  log: Logger
  /** Counts it. */
  onGap: () => void
  /** What a gap means for this service, for its log. */
  afterGap: string
}

export function heartbeat({ beat: once, intervalMs, log, onGap, afterGap }: HeartbeatParts): Loop {
  const work = async () => {
    if ((await once()).afterGap) {
      onGap()
      log.warn(`the database was not written to for a while: ${afterGap}`)
    }
    return false
  }
  return new Loop({ name: 'heartbeat', intervalMs, log, work })
}
