/**
 * Settles abandoned claims: their lease expired, and no run says how it ended. If there is no run, none can begin from now on, and the key
 * is free again; if it has ended, the idempotency service is notified again. It may run in every replica.
 */
import { ownContext } from '#mesh/grpc/call.ts'
import { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { Claims } from '../claims.ts'
import type { Store } from '../store.ts'

export interface StrandedClaimsParts {
  store: Pick<Store, 'giveUp'>
  claims: Pick<Claims, 'expired' | 'abandon' | 'complete'>
  log: Logger
  intervalMs: number
  /** How long after its lease a claim is examined: longer than a run takes, because a claim is not renewed while its run executes. */
  expiredForMs: number
}

const maxPerRound = 100

export class StrandedClaims {
  readonly #parts: StrandedClaimsParts
  readonly #loop: Loop

  constructor(parts: StrandedClaimsParts) {
    this.#parts = parts
    this.#loop = new Loop({ name: 'stranded claims', intervalMs: parts.intervalMs, log: parts.log, work: () => this.round() })
  }

  start(): void {
    this.#loop.start()
  }

  stop(): Promise<void> {
    return this.#loop.stop()
  }

  /** True if there may be more. */
  async round(): Promise<boolean> {
    const { store, claims, log, expiredForMs } = this.#parts
    const context = ownContext()
    const expired = await claims.expired({ expiredForMs, limit: maxPerRound }, context)
    let [freed, completed] = [0, 0]
    // One after the other: it is not urgent, and uses one connection.
    for (const { key, runId } of expired) {
      const found = await store.giveUp(runId, key)
      if (found === 'executing') continue
      if (found === 'void') {
        await claims.abandon(key, runId, context)
        freed += 1
      } else {
        await claims.complete(key, runId, context)
        completed += 1
      }
    }
    if (freed + completed > 0) log.info({ freed, completed }, 'settled abandoned claims')
    return expired.length === maxPerRound && freed + completed > 0
  }
}
