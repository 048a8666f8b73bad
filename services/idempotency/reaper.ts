/**
 * Removes completed claims after their retention, in small batches at an interval, and counts expired claims. It may run in every replica:
 * each skips the rows that another is removing.
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
  /** Maximum claims per statement; 1000 if unset. */
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
    instruments.oldestExpired.set(oldestMs / 1000)
    return false
  }
  return new Loop({ name: 'reaper', intervalMs, log, work })
}
