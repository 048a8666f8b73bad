/** Deletes what has expired: steps of connecting, revocations that never succeeded, connections that were not reconnected. */
import { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { ConnectStore } from './connect/store.ts'
import type { Connections } from './connections/connections.ts'
import type { Instruments } from './metrics.ts'
import type { RevocationStore } from './revocations/store.ts'

export interface RetentionParts {
  readonly steps: Pick<ConnectStore, 'expire'>
  readonly revocations: Pick<RevocationStore, 'expire'>
  readonly connections: Pick<Connections, 'expire'>
  readonly instruments: Instruments
  readonly log: Logger
  /** How long a connection is kept after its owner must connect again, in milliseconds. */
  readonly endedMs: number
}

const intervalMs = 60_000
/** How long a revocation is retried: as long as a token may be opened with a replaced key. */
export const revocationMs = 24 * 3_600_000
/** Rows per statement. */
const limit = 200

/** One round. Returns whether there may be more. */
export async function expireAll({ steps, revocations, connections, instruments, log, endedMs }: RetentionParts): Promise<boolean> {
  const counts = [await steps.expire(limit), await revocations.expire(revocationMs, limit), await connections.expire(endedMs, limit)]
  const [, given = 0] = counts
  if (given > 0) {
    instruments.revocationsGivenUp.inc(given)
    log.warn({ count: given }, 'tokens could not be revoked at their provider within a day; gave up')
  }
  return counts.some((count) => count === limit)
}

export const retention = (parts: RetentionParts): Loop =>
  new Loop({ name: 'retention', intervalMs: intervalMs, log: parts.log, work: () => expireAll(parts) })
