/**
 * Writing what a provider granted. A provider may take each refresh token once, so what it gave for one cannot be had again: it goes into the
 * journal first, then into the database, again and again for as long as this process lives. It counts as newer than the row as long as the
 * row still holds the tokens that it was exchanged for, however late it comes, whoever holds the lease by then, and also where somebody
 * concluded from those tokens that the account has to be connected anew.
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
  /** Called after each act: its audit event waits to be told. */
  readonly acted?: () => void
  /** Of what is of no use any more: for the provider to forget. */
  readonly tokenRevoker: Pick<TokenRevoker, 'dropped'>
}

/** Between attempts to write while the database is away. */
const [firstPauseMs, maxPauseMs] = [100, 500]
/** How long a process that is told to end goes on trying. */
const stoppingMs = 5000

export class TokenWriter {
  readonly #parts: TokenWriterParts
  /** When to give up, by performance.now(). */
  #until = Infinity

  constructor(parts: TokenWriterParts) {
    this.#parts = parts
  }

  /** From now on what cannot be written is given up soon. */
  stop(): void {
    this.#until = Math.min(this.#until, performance.now() + stoppingMs)
  }

  /** Undefined: there are other tokens by now, which have to be looked at. */
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
    // An attempt before may have written it, and lost the answer alone.
    if (now?.connectionId !== connectionId) await this.#parts.tokenRevoker.dropped(granted, lease)
    return undefined
  }

  /** Writes what somebody else was given for the tokens that stand, and could not write. Undefined: there is no such thing. */
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
            'ended before new tokens could be written; without Redis the account has to be reconnected',
          )
          throw error
        }
      }
      await pause(waitMs)
    }
  }
}
