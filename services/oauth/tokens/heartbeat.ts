/**
 * Evidence, in the database itself, that it can be written to. Every replica beats; the row says since when it was beaten without a gap. A
 * refresh whose lease ran out is taken over only after a full lease of that: until then its holder may be alive with new tokens, and may
 * not have been able to write them. No replica's memory counts: one that has just started, or was cut off alone, reads the same row.
 */
import { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { ConnectionStore } from '../connections/store.ts'

const intervalMs = 300

export function heartbeat({ store, log }: { store: Pick<ConnectionStore, 'beat'>; log: Logger }): Loop {
  const work = async () => {
    if ((await store.beat()).afterGap) log.warn('the database was not written to for a while: refreshes under way are left to their holders')
    return false
  }
  return new Loop({ name: 'heartbeat', everyMs: intervalMs, log, work })
}
