/**
 * Removes claims that no longer answer, in small bites and every so often, and looks for claims that nobody works on. It may run in every
 * replica: each passes over what another is just removing.
 */
import { setTimeout as pause } from 'node:timers/promises'
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

export interface Reaper {
  /** Resolves once the round under way has ended. */
  stop(): Promise<void>
}

export function startReaper({ store, everyMs, instruments, log, most = 1000 }: ReaperParts): Reaper {
  const end = new AbortController()
  const { signal } = end

  const round = async (): Promise<void> => {
    let removed: number
    do {
      removed = await store.reap(most)
      instruments.reaped.inc(removed)
    } while (removed === most && !signal.aborted)
    const { count, oldestMs } = await store.lapsed()
    instruments.lapsed.set(count)
    instruments.oldestLapsed.set(oldestMs / 1000)
  }

  const work = async (): Promise<void> => {
    while (!signal.aborted) {
      // What cannot be done now is done in the next round.
      await round().catch((error: unknown) => log.warn({ err: error }, 'the reaper could not do its round'))
      await pause(everyMs, undefined, { signal }).catch(() => undefined)
    }
  }

  const ended = work()
  return {
    stop() {
      end.abort()
      return ended
    },
  }
}
