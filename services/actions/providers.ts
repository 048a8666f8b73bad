/**
 * Which providers cannot be used here, as the oauth service said last: for the list of actions, which is read far too often to ask it each
 * time. It is asked every few seconds instead, and what it says holds until it says otherwise: its configuration changes only with its
 * process. While it is away the list goes on as it was; before it ever answered, all count as configured. What may be previewed and
 * executed is not decided here: that asks about the account anyway, and hears of the provider with it.
 */
import { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import { notConfigured } from './connections.ts'

/** For the list of actions. */
export interface Providers {
  /** What to configure, where the provider is known not to be. Answers out of memory. */
  unavailable(provider: string): string | undefined
}

export interface FollowedParts {
  /** The variables that each provider lacks, by its name; none for one that is configured. */
  ask: () => Promise<ReadonlyMap<string, readonly string[]>>
  log: Logger
  /** How often it is asked, in milliseconds; 5000 when unset. */
  intervalMs?: number
}

export class FollowedProviders implements Providers {
  readonly #loop: Loop
  #unavailable: ReadonlyMap<string, string> = new Map()

  constructor({ ask, log, intervalMs = 5000 }: FollowedParts) {
    const work = async () => {
      const lacking = [...(await ask())].filter(([, missing]) => missing.length > 0)
      this.#unavailable = new Map(lacking.map(([provider, missing]) => [provider, notConfigured(provider, missing)]))
      return false
    }
    this.#loop = new Loop({ name: 'providers', intervalMs, log, work })
  }

  unavailable(provider: string): string | undefined {
    return this.#unavailable.get(provider)
  }

  start(): void {
    this.#loop.start()
  }

  stop(): Promise<void> {
    return this.#loop.stop()
  }
}
