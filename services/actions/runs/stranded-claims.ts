/**
 * Settles claims that nobody uses any more: their lease expired, and no run says how it ended. Where there is no run, none can begin from here
 * on, and the key is free again; where it has ended, the idempotency service is told once more. It may run in every replica.
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
  /** How long after its lease a claim is looked at: longer than a run takes, for a claim is not renewed while its run goes on. */
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

  /** True when there may be more. */
  async round(): Promise<boolean> {
    const { store, claims, log, expiredForMs } = this.#parts
    const context = ownContext()
    const expired = await claims.expired({ expiredForMs, limit: maxPerRound }, context)
    let [freed, completed] = [0, 0]
    // One after the other: this is never in a hurry, and takes one connection.
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
    if (freed + completed > 0) log.info({ freed, completed }, 'settled claims that nobody used any more')
    return expired.length === maxPerRound && freed + completed > 0
  }
}
