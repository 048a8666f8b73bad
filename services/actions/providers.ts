/**
 * The providers that cannot be used here, as the oauth service last said. It is for the list of actions, which is read far too often to ask
 * each time. The oauth service is polled every few seconds instead; its configuration changes only with its process. While it is
 * unavailable the list stays as it was; before its first response all count as configured. This does not decide what may be previewed and
 * executed: that asks about the account anyway, and learns about the provider with it.
 */
import { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import { notConfigured } from './connections.ts'

/** For the list of actions. */
export interface Providers {
  /** What to configure, if the provider is known not to be. Returns from memory. */
  unavailable(provider: string): string | undefined
}

export interface FollowedParts {
  /** The missing variables of each provider, by its name; none if it is configured. */
  ask: () => Promise<ReadonlyMap<string, readonly string[]>>
  log: Logger
  /** The poll interval, in milliseconds; 5000 if unset. */
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
