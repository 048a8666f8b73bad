/**
 * Writes a provider's grant. A provider may accept each refresh token once, so its grant cannot be requested again: it goes into the
 * journal first, then into the database, with retries for as long as this process lives. It counts as newer than the row as long as the row
 * has the tokens that it was exchanged for, however late it comes, whoever holds the lease by then, and even if another process concluded
 * from those tokens that the account must be connected again.
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { Principal } from '#mesh/audit/event.ts'
import { MeshError } from '#mesh/errors.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import { connectionEvent } from '../connections/connections.ts'
import type { ConnectionStore, LeasedConnection, SealedTokens } from '../connections/store.ts'
import type { Instruments } from '../metrics.ts'
import type { TokenGrant } from '../providers/protocol.ts'
import type { Provider } from '../providers/provider.ts'
import type { TokenRevoker } from '../revocations/token-revoker.ts'
import type { Vault } from '../vault/vault.ts'
import type { TokenCache } from '../connections/token-cache.ts'
import type { TokenJournal } from './journal.ts'

export interface TokenWriterParts {
  readonly store: ConnectionStore
  readonly cache: TokenCache
  readonly journal: TokenJournal
  readonly vault: Vault
  readonly instruments: Instruments
  readonly log: Logger
  /** Called after each act: its audit event is pending. */
  readonly acted?: () => void
  /** For tokens that are no longer used: the provider must revoke them. */
  readonly tokenRevoker: Pick<TokenRevoker, 'dropped'>
}

/** The wait between attempts to write while the database is unavailable. */
const [firstPauseMs, maxPauseMs] = [100, 500]
/** How long a stopping process continues to try. */
const stoppingMs = 5000

export class TokenWriter {
  readonly #parts: TokenWriterParts
  /** When to give up, by performance.now(). */
  #until = Infinity

  constructor(parts: TokenWriterParts) {
    this.#parts = parts
  }

  /** From now on it soon gives up what cannot be written. */
  stop(): void {
    this.#until = Math.min(this.#until, performance.now() + stoppingMs)
  }

  /** Undefined: the tokens are different by now, and must be read. */
  async granted(granted: TokenGrant, lease: LeasedConnection, provider: Provider, by: Principal): Promise<LeasedConnection | undefined> {
    const { journal, instruments } = this.#parts
    const { connectionId, version } = lease
    const tokens = this.#sealed(granted, lease)
    if (tokens.refresh !== undefined) await journal.keep({ connectionId, version, tokens })
    const kept = await this.#insisting(lease, () => this.#write(lease, tokens, by))
    if (tokens.refresh !== undefined) journal.forget(connectionId)
    instruments.refreshes.inc({ provider: provider.name, outcome: kept === undefined ? 'fenced' : 'refreshed' })
    if (kept !== undefined) return kept
    const now = await this.#insisting(lease, () => this.#parts.store.find(lease))
    // An earlier attempt may have written it, and only lost the response.
    if (now?.connectionId !== connectionId) await this.#parts.tokenRevoker.dropped(granted, lease)
    return undefined
  }

  /** Writes what another process was granted for the current tokens, and could not write. Undefined: there is none. */
  async recovered(held: LeasedConnection, by: Principal): Promise<LeasedConnection | undefined> {
    const { journal, log } = this.#parts
    const { connectionId, version } = held
    const entry = await journal.find(connectionId)
    if (entry?.version !== version) return undefined
    const kept = await this.#write(held, entry.tokens, by)
    journal.forget(connectionId)
    if (kept !== undefined) log.warn({ connection: connectionId }, 'tokens that another replica could not write were found and written')
    return kept
  }

  async #write(lease: LeasedConnection, tokens: SealedTokens, by: Principal): Promise<LeasedConnection | undefined> {
    const { store, cache, acted, log } = this.#parts
    const event = connectionEvent(by, 'connection.recovered', lease)
    const written = await store.writeRefreshed(lease.connectionId, lease.version, tokens, event)
    if (written === undefined) return undefined
    const { recovered, ...row } = written
    if (recovered) {
      acted?.()
      log.warn({ provider: lease.provider, connection: lease.connectionId }, 'newer tokens came late: the account is connected after all')
    }
    const stands = { ...tokens, refresh: tokens.refresh ?? lease.tokens.refresh }
    const legacy = lease.legacy && tokens.refresh === undefined
    const none = { leasedMs: 0, restMs: 0, failures: 0, unfinished: false, reason: undefined }
    const fresh: LeasedConnection = { ...lease, ...row, ...none, status: 'connected', tokens: stands, legacy }
    cache.put(fresh)
    return fresh
  }

  #sealed({ accessToken, refreshToken, expiresInMs }: TokenGrant, { workspace, connectionId }: LeasedConnection): SealedTokens {
    const seal = (kind: 'access' | 'refresh', text: string) => this.#parts.vault.seal({ workspace, connectionId, kind }, text)
    const refresh = refreshToken === undefined ? undefined : seal('refresh', refreshToken)
    return { access: seal('access', accessToken), accessExpiresAt: new Date(Date.now() + expiresInMs), refresh }
  }

  async #insisting<T>({ connectionId: connection, provider }: LeasedConnection, work: () => Promise<T>): Promise<T> {
    for (let waitMs = firstPauseMs; ; waitMs = Math.min(waitMs * 1.5, maxPauseMs)) {
      try {
        return await work()
      } catch (error) {
        if (!(error instanceof MeshError)) throw error
        if (performance.now() > this.#until) {
          this.#parts.log.error(
            { connection, provider },
            'ended before new tokens could be written; without Redis the account must be reconnected',
          )
          throw error
        }
      }
      await pause(waitMs)
    }
  }
}
