/** Removes keys that ended long ago, and revocations that no verifier needs any more. It may run in every replica. */
import { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { KeyStore } from './store.ts'

export interface KeyRetentionParts {
  keys: Pick<KeyStore, 'prune'>
  /** How long an ended key is still listed, in milliseconds. */
  keyRetentionMs: number
  log: Logger
  /** In milliseconds; an hour if unset. */
  intervalMs?: number
}

/** Not started yet. */
export function keyRetention({ keys, keyRetentionMs, log, intervalMs = 3_600_000 }: KeyRetentionParts): Loop {
  const work = async (): Promise<boolean> => {
    const removed = await keys.prune(keyRetentionMs)
    if (removed > 0) log.info({ removed }, 'ended keys and old revocations were removed')
    // A key is removed after its children: there may be more now, even if few were removed.
    return removed > 0
  }
  return new Loop({ name: 'key retention', intervalMs, log, work })
}
