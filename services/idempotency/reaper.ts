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
  everyMs: number
  instruments: Instruments
  log: Logger
  /** Claims removed in one statement at the most; 1000 when unset. */
  most?: number
}

/** Not started yet. */
export function reaper({ store, everyMs, instruments, log, most = 1000 }: ReaperParts): Loop {
  const work = async (): Promise<boolean> => {
    const removed = await store.reap(most)
    instruments.reaped.inc(removed)
    if (removed === most) return true
    const { count, oldestMs } = await store.lapsed()
    instruments.lapsed.set(count)
    instruments.oldestLapsed.set(oldestMs / 1000)
    return false
  }
  return new Loop({ name: 'reaper', everyMs, log, work })
}
