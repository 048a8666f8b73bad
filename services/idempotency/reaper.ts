/**
 * Removes claims that no longer answer, in small bites and every so often, and looks for claims that nobody works on. It may run in every
 * replica: each passes over what another is just removing.
 */
import { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { Instruments } from './metrics.ts'
import type { ClaimStore } from './store.ts'

export interface ReaperParts {
  store: ClaimStore
  intervalMs: number
  instruments: Instruments
  log: Logger
  /** Claims removed in one statement at the most; 1000 when unset. */
  max?: number
}

/** Not started yet. */
export function reaper({ store, intervalMs, instruments, log, max = 1000 }: ReaperParts): Loop {
  const work = async (): Promise<boolean> => {
    const removed = await store.reap(max)
    instruments.reaped.inc(removed)
    if (removed === max) return true
    const { count, oldestMs } = await store.expiredClaims()
    instruments.expiredClaims.set(count)
    instruments.oldestLapsed.set(oldestMs / 1000)
    return false
  }
  return new Loop({ name: 'reaper', intervalMs, log, work })
}
