/**
 * One refresh at the provider, however many ask: in this process they wait for the same promise, and among replicas for a lease in the
 * database, under an epoch. No database connection is held while the provider is asked. A lease that ran out is taken over only on
 * evidence that its holder could have written (heartbeat.ts), and after a look for what it was given (journal.ts).
 *
 * What is lost when: killed before the provider was asked, nothing. Killed after it answered, nothing where the refresh token stays the same,
 * or where the journal has the new one. What is left is a provider that gives a new refresh token each time, and an answer of it that only a
 * process knew that died, or that never arrived: then the next refresh finds out that the account has to be connected anew.
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { Principal } from '#mesh/audit/event.ts'
import { MeshError, meshErrors } from '#mesh/errors.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import { authorizePath, connectionEvent, usable } from '../connections/connections.ts'
import type { ConnectionStore, LeasedConnection } from '../connections/store.ts'
import { errors } from '../errors.ts'
import type { Instruments } from '../metrics.ts'
import type { TokenGrant, Protocol } from '../providers/protocol.ts'
import { ProviderError } from '../providers/provider-error.ts'
import type { Provider } from '../providers/provider.ts'
import { type Vault, VaultError } from '../vault/vault.ts'
import type { TokenCache } from '../connections/token-cache.ts'
import { TokenWriter, type TokenWriterParts } from './token-writer.ts'
import { type ReauthReason, outcomeOf, restMs } from './outcome.ts'

export interface RefreshParts extends TokenWriterParts {
  readonly store: ConnectionStore
  readonly cache: TokenCache
  readonly vault: Vault
  readonly protocol: Pick<Protocol, 'refresh'>
  readonly instruments: Instruments
  readonly log: Logger
  /** How long the provider and the write after it may take, in milliseconds; then another replica takes over. */
  readonly leaseMs: number
  /** How long the provider is waited for, in milliseconds. What it answers later is kept all the same. */
  readonly waitMs: number
}

/** How often those look who wait for another replica, in milliseconds: at first, and at the most. */
const [firstPollMs, maxPollIntervalMs] = [20, 250]
/** Comes first where the provider does not answer in time. */
const slow = Symbol('slow')
/** How many leases long others are waited for. */
const leasesWaited = 3

export class Refresh {
  readonly #parts: RefreshParts
  readonly #flights = new Map<string, Promise<LeasedConnection>>()
  /** Of providers that are slow: nobody waits for them any longer. */
  readonly #late = new Set<Promise<unknown>>()
  readonly #writer: TokenWriter

  constructor(parts: RefreshParts) {
    this.#parts = parts
    this.#writer = new TokenWriter(parts)
  }

  /**
   * The connection with other tokens than these. It goes on when who asks has gone. Throws MeshError: PROVIDER_UNAVAILABLE, CLIENT_REFUSED,
   * DEPENDENCY_UNAVAILABLE, which say nothing against the tokens that there are, or whatever `usable` throws.
   */
  refreshed(held: LeasedConnection, provider: Provider, by: Principal): Promise<LeasedConnection> {
    const { connectionId } = held
    const under = this.#flights.get(connectionId)
    if (under !== undefined) return under
    const flight = this.#fly(held, provider, by).finally(() => this.#flights.delete(connectionId))
    // There may be nobody left who waits for it.
    flight.catch(() => undefined)
    this.#flights.set(connectionId, flight)
    return flight
  }

  /** Resolves when none is under way. What cannot be written is given up after a while. */
  async drain(): Promise<void> {
    this.#writer.stop()
    while (this.#flights.size + this.#late.size > 0) await Promise.allSettled([...this.#flights.values(), ...this.#late])
  }

  async #fly(held: LeasedConnection, provider: Provider, by: Principal): Promise<LeasedConnection> {
    const { store, leaseMs } = this.#parts
    const timeout = performance.now() + leasesWaited * leaseMs
    let current = held
    for (
      let pollIntervalMs = firstPollMs;
      performance.now() < timeout;
      pollIntervalMs = Math.min(pollIntervalMs * 1.5, maxPollIntervalMs)
    ) {
      if (current.version !== held.version) return current
      if (current.restMs > 0) throw errors.PROVIDER_UNAVAILABLE({ retryAfterMs: current.restMs })
      if (current.leasedMs > 0) await pause(Math.min(current.leasedMs, pollIntervalMs * (0.75 + Math.random() / 2)))
      else {
        const recovered = current.unfinished ? await this.#writer.recovered(current, by) : undefined
        if (recovered !== undefined) return recovered
        const taken = await store.takeRefresh(held.connectionId, current.epoch, leaseMs)
        const fresh = taken && (await this.#ask({ ...current, epoch: taken.epoch }, provider, by))
        if (fresh !== undefined) return fresh
        // Somebody else was quicker, or nobody may take it over yet.
        if (taken === undefined) await pause(pollIntervalMs)
      }
      current = usable(await store.find(held), held)
    }
    throw errors.PROVIDER_UNAVAILABLE({ retryAfterMs: leaseMs })
  }

  /** Under the lease of `lease.epoch`. Undefined: it was lost, and what stands now has to be looked at. */
  async #ask(lease: LeasedConnection, provider: Provider, by: Principal): Promise<LeasedConnection | undefined> {
    const { protocol, instruments, waitMs } = this.#parts
    const end = instruments.refreshSeconds.startTimer({ provider: provider.name })
    let granted: TokenGrant
    try {
      const { refresh } = lease.tokens
      if (refresh === undefined) return await this.#reauth(lease, 'NO_REFRESH_TOKEN', by)
      const token = this.#open(lease, refresh)
      const asking = protocol.refresh(provider, token).finally(end)
      if ((await Promise.race([asking, pause(waitMs, slow, { ref: false })])) === slow) {
        this.#keepLate(asking, lease, provider, by)
        throw errors.PROVIDER_UNAVAILABLE({ retryAfterMs: 1000 })
      }
      granted = await asking
    } catch (error) {
      if (error instanceof ProviderError) return this.#failed(error, lease, provider, by)
      if (!(error instanceof MeshError)) await this.#release(lease)
      throw error
    }
    instruments.clientRejected.set({ provider: provider.name }, 0)
    return this.#writer.granted(granted, lease, provider, by)
  }

  /**
   * A provider that takes each refresh token once has taken this one, however long its answer takes, and gives the new one to nobody else. The
   * lease stays meanwhile, so that nobody shows the old one again.
   */
  #keepLate(asking: Promise<TokenGrant>, lease: LeasedConnection, provider: Provider, by: Principal): void {
    const { log } = this.#parts
    log.warn(
      { provider: provider.name, connection: lease.connectionId },
      'the provider is slow to refresh a token; its answer is kept when it comes',
    )
    const kept = asking.then(
      (granted) => this.#writer.granted(granted, lease, provider, by),
      (error: unknown) => (error instanceof ProviderError ? this.#failed(error, lease, provider, by) : this.#release(lease)),
    )
    // Each says itself what went wrong.
    const done = kept.catch(() => undefined).finally(() => this.#late.delete(done))
    this.#late.add(done)
  }

  #open({ workspace, connectionId, legacy }: LeasedConnection, refresh: string): string {
    const { vault, instruments, log } = this.#parts
    try {
      return vault.open({ workspace, connectionId, kind: 'refresh' }, refresh, { legacy })
    } catch (error) {
      if (error instanceof VaultError) {
        instruments.decryptFailures.inc({ reason: error.reason })
        log.error({ err: error, connection: connectionId, workspace }, 'a refresh token cannot be opened; the connection stays as it is')
      }
      throw error
    }
  }

  async #failed({ failure }: ProviderError, lease: LeasedConnection, provider: Provider, by: Principal): Promise<undefined> {
    const { instruments, log } = this.#parts
    const outcome = outcomeOf(failure)
    const [name, connection] = [provider.name, lease.connectionId]
    instruments.refreshes.inc({ provider: name, outcome: outcome.what === 'later' ? outcome.why : outcome.what })
    if (outcome.what === 'reauth') {
      // It looked at the grant: it knows us.
      instruments.clientRejected.set({ provider: name }, 0)
      return this.#reauth(lease, outcome.reason, by)
    }
    const rest = restMs(lease.failures + 1, outcome.what === 'later' ? outcome.retryAfterMs : undefined, Math.random())
    await this.#release(lease, rest)
    if (outcome.what === 'invalid_client') {
      instruments.clientRejected.set({ provider: name }, 1)
      log.error({ provider: name, code: outcome.code }, 'the provider does not accept us as its client: look at its variables')
      throw errors.CLIENT_REFUSED({ retryAfterMs: rest })
    }
    log.warn({ provider: name, connection, why: outcome.why, rest_ms: rest }, 'a token could not be refreshed; it is tried again')
    throw errors.PROVIDER_UNAVAILABLE({ retryAfterMs: rest })
  }

  /** Only if it is still the row that was asked about: another replica may have new tokens by now, or its owner have connected anew. */
  async #reauth(lease: LeasedConnection, reason: ReauthReason, by: Principal): Promise<undefined> {
    const { store, cache, log, acted } = this.#parts
    const { connectionId, epoch, provider, workspace } = lease
    const now = await store.find(lease)
    if (now?.connectionId !== connectionId || now.epoch !== epoch) return undefined
    // The refresh token may be refused because another replica exchanged it, and could not say so.
    const recovered = await this.#writer.recovered(now, by)
    if (recovered !== undefined) return undefined
    const event = connectionEvent(by, 'connection.reauth_required', lease, reason)
    if (!(await store.failRefresh(connectionId, epoch, reason, event))) return undefined
    cache.forget(lease)
    acted?.()
    log.warn({ provider, connection: connectionId, workspace, reason }, 'the account has to be connected anew')
    throw errors.REAUTH_REQUIRED({ metadata: { authorize_path: authorizePath(provider), reason } })
  }

  /** Where even that fails, the lease runs out by itself. */
  async #release({ connectionId, epoch }: LeasedConnection, rest?: number): Promise<void> {
    await this.#parts.store.releaseRefresh(connectionId, epoch, rest).catch((error: unknown) => {
      if (!(error instanceof MeshError) || error.reason !== meshErrors.DEPENDENCY_UNAVAILABLE().reason) throw error
    })
  }
}
