/**
 * One refresh at the provider, however many callers: within a process they wait for the same promise, and between replicas for a lease in
 * the database, under an epoch. No database connection is held during the request to the provider. An expired lease is taken over only with
 * evidence that its holder could have written (heartbeat.ts), and after a look for its grant (journal.ts).
 *
 * What can be lost: nothing if the process dies before the request; nothing after the response, if the refresh token stays the same, or the
 * journal has the new one. What remains is a provider that rotates refresh tokens, and a response that only a dead process knew, or that
 * never arrived: then the next refresh finds that the account must be connected again.
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
  /** How long callers wait for the provider, in milliseconds. A later response is still written. */
  readonly waitMs: number
}

/** The poll interval while another replica refreshes, in milliseconds: the first, and the maximum. */
const [firstPollMs, maxPollIntervalMs] = [20, 250]
/** Wins if the provider does not respond in time. */
const slow = Symbol('slow')
/** How many lease times to wait for others. */
const leasesWaited = 3

export class Refresh {
  readonly #parts: RefreshParts
  readonly #flights = new Map<string, Promise<LeasedConnection>>()
  /** Of slow providers: no caller waits for them any longer. */
  readonly #late = new Set<Promise<unknown>>()
  readonly #writer: TokenWriter

  constructor(parts: RefreshParts) {
    this.#parts = parts
    this.#writer = new TokenWriter(parts)
  }

  /**
   * The connection with tokens other than these. It continues when the caller has left. Throws MeshError: PROVIDER_UNAVAILABLE,
   * CLIENT_REFUSED, DEPENDENCY_UNAVAILABLE, which say nothing against the existing tokens, or whatever `usable` throws.
   */
  refreshed(held: LeasedConnection, provider: Provider, by: Principal): Promise<LeasedConnection> {
    const { connectionId } = held
    const under = this.#flights.get(connectionId)
    if (under !== undefined) return under
    const flight = this.#fly(held, provider, by).finally(() => this.#flights.delete(connectionId))
    // Perhaps no caller waits for it any more.
    flight.catch(() => undefined)
    this.#flights.set(connectionId, flight)
    return flight
  }

  /** Resolves when none is in progress. What cannot be written is given up after a while. */
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
        // Another process was faster, or none may take it over yet.
        if (taken === undefined) await pause(pollIntervalMs)
      }
      current = usable(await store.find(held), held)
    }
    throw errors.PROVIDER_UNAVAILABLE({ retryAfterMs: leaseMs })
  }

  /** Under the lease of `lease.epoch`. Undefined: it was lost, and the current row must be read. */
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
   * A provider with rotation has consumed this refresh token, however long its response takes, and gives the new one to this process alone.
   * The lease stays meanwhile, so that no other process sends the old one again.
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
    // Each logs its own failure.
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
        log.error({ err: error, connection: connectionId, workspace }, 'a refresh token cannot be decrypted; the connection is unchanged')
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
      // It examined the grant, so it accepts us as a client.
      instruments.clientRejected.set({ provider: name }, 0)
      return this.#reauth(lease, outcome.reason, by)
    }
    const rest = restMs(lease.failures + 1, outcome.what === 'later' ? outcome.retryAfterMs : undefined, Math.random())
    await this.#release(lease, rest)
    if (outcome.what === 'invalid_client') {
      instruments.clientRejected.set({ provider: name }, 1)
      log.error({ provider: name, code: outcome.code }, 'the provider rejects our client credentials: check its variables')
      throw errors.CLIENT_REFUSED({ retryAfterMs: rest })
    }
    log.warn({ provider: name, connection, why: outcome.why, rest_ms: rest }, 'failed to refresh a token; will retry')
    throw errors.PROVIDER_UNAVAILABLE({ retryAfterMs: rest })
  }

  /** Only if it is still the same row: another replica may have new tokens by now, or its owner have reconnected. */
  async #reauth(lease: LeasedConnection, reason: ReauthReason, by: Principal): Promise<undefined> {
    const { store, cache, log, acted } = this.#parts
    const { connectionId, epoch, provider, workspace } = lease
    const now = await store.find(lease)
    if (now?.connectionId !== connectionId || now.epoch !== epoch) return undefined
    // The refresh token may be rejected because another replica exchanged it, and could not write the result.
    const recovered = await this.#writer.recovered(now, by)
    if (recovered !== undefined) return undefined
    const event = connectionEvent(by, 'connection.reauth_required', lease, reason)
    if (!(await store.failRefresh(connectionId, epoch, reason, event))) return undefined
    cache.forget(lease)
    acted?.()
    log.warn({ provider, connection: connectionId, workspace, reason }, 'the account must be connected again')
    throw errors.REAUTH_REQUIRED({ metadata: { authorize_path: authorizePath(provider), reason } })
  }

  /** If even that fails, the lease expires by itself. */
  async #release({ connectionId, epoch }: LeasedConnection, rest?: number): Promise<void> {
    await this.#parts.store.releaseRefresh(connectionId, epoch, rest).catch((error: unknown) => {
      if (!(error instanceof MeshError) || error.reason !== meshErrors.DEPENDENCY_UNAVAILABLE().reason) throw error
    })
  }
}
