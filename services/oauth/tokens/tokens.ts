/**
 * Returns valid access tokens. The database is asked first, because only there a disconnect is certain to be visible. While it is
 * unavailable, tokens come from the cache until they expire.
 */
import { createHash } from 'node:crypto'
import type { Principal } from '#mesh/audit/event.ts'
import { Breaker } from '#mesh/breaker.ts'
import { MeshError, meshErrors, isUnavailable } from '#mesh/errors.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import { usable } from '../connections/connections.ts'
import type { ConnectionStore, LeasedConnection, Owner } from '../connections/store.ts'
import { errors } from '../errors.ts'
import type { Instruments } from '../metrics.ts'
import type { Provider } from '../providers/provider.ts'
import { type Vault, VaultError } from '../vault/vault.ts'
import type { TokenCache } from '../connections/token-cache.ts'
import type { Refresh } from './refresh.ts'

export interface TokensParts {
  readonly store: ConnectionStore
  readonly cache: TokenCache
  readonly vault: Vault
  readonly refresh: Refresh
  readonly instruments: Instruments
  /** Looks up a provider by name; throws if unknown or not configured. */
  readonly provider: (name: string) => Provider
  readonly log: Logger
}

export interface TokenRequest extends Owner {
  /** The one that was previewed. */
  readonly connectionId: string
  /** SHA-256 in hex of a token that the provider rejected. */
  readonly refused?: string | undefined
}

export interface Token {
  readonly accessToken: string
  readonly expiresAt: Date
  readonly scopes: readonly string[]
}

/** How long the database may take before the cache is used, in milliseconds; and the interval between attempts while it is unavailable. */
const [databaseMs, probeMs] = [1000, 250]
/** A token is refreshed in the background if less than this is left, and awaited if almost nothing is; and never at once. */
const ahead = { ms: 60_000, ofLife: 1 / 4 }
const late = { ms: 5000, ofLife: 1 / 20 }
/** A provider that rejects what it just granted is not asked for ever. */
const maxRounds = 3
/** Maximum rejected tokens that are remembered. */
const maxRejected = 1000

export class Tokens {
  readonly #parts: TokensParts
  readonly #breaker: Breaker
  /** SHA-256 in hex of rejected tokens: also while the database cannot be updated. */
  readonly #refused = new Set<string>()

  constructor(parts: TokensParts) {
    this.#parts = parts
    const nobody = { workspace: '', actor: '', provider: '' }
    this.#breaker = new Breaker({
      probe: () => parts.store.find(nobody),
      intervalMs: probeMs,
      onChange: ({ closed }) =>
        parts.log.warn(closed ? 'Postgres responds again' : 'Postgres does not respond: tokens come from the cache'),
    })
  }

  stop(): void {
    this.#breaker.stop()
  }

  /** Throws MeshError: those of `usable`, of `Refresh.refreshed`, of `provider`. */
  async token(wanted: TokenRequest, by: Principal): Promise<Token> {
    const provider = this.#parts.provider(wanted.provider)
    if (wanted.refused !== undefined) this.#remember(wanted.refused)
    // Callers do not wait again for a database that is known to be unavailable.
    const known = this.#breaker.closed ? undefined : await this.#cached(wanted)
    if (known !== undefined) return known
    let found: LeasedConnection | undefined
    try {
      found = await this.#find(wanted)
    } catch (error) {
      const cached = isDependencyUnavailable(error) ? await this.#cached(wanted) : undefined
      if (cached === undefined) throw error
      return cached
    }
    return this.#fromDatabase(usable(found, wanted), provider, by)
  }

  async #fromDatabase(first: LeasedConnection, provider: Provider, by: Principal): Promise<Token> {
    const { store, cache, refresh, instruments } = this.#parts
    let held = first
    for (let round = 0; round < maxRounds; round += 1) {
      const token = this.#open(held)
      const refused = this.#isRefused(token.accessToken)
      if (refused) {
        await store.expireAccess(held.connectionId, held.tokens.access)
        cache.forget(held)
      }
      const fresh = held !== first
      const leftMs = refused ? 0 : token.expiresAt.getTime() - Date.now()
      const from = fresh ? 'provider' : 'database'
      // A new token may have a short life: it is all there is.
      if (!refused && (fresh || leftMs > limitMs(held, late))) {
        if (!fresh) {
          cache.put(held)
          if (leftMs <= limitMs(held, ahead) && held.restMs === 0) void refresh.refreshed(held, provider, by).catch(() => undefined)
        }
        instruments.tokens.inc({ source: from })
        return token
      }
      try {
        held = await refresh.refreshed(held, provider, by)
      } catch (error) {
        if (leftMs <= 0 || !isUnavailable(error)) throw error
        instruments.tokens.inc({ source: from })
        return token
      }
    }
    throw errors.PROVIDER_UNAVAILABLE()
  }

  async #find(owner: Owner): Promise<LeasedConnection | undefined> {
    const finding = this.#parts.store.find(owner)
    try {
      return await within(finding, this.#breaker.closed ? databaseMs : probeMs)
    } catch (error) {
      if (isDependencyUnavailable(error)) this.#breaker.open('postgres')
      throw error
    }
  }

  /** For when the database is unavailable. */
  async #cached(wanted: TokenRequest): Promise<Token | undefined> {
    const { cache, instruments } = this.#parts
    const cached = await cache.find(wanted)
    if (cached === undefined || cached.connectionId !== wanted.connectionId) return undefined
    if (cached.accessExpiresAt.getTime() <= Date.now()) return undefined
    const { access, accessExpiresAt: expiresAt, scopes } = cached
    let accessToken: string
    try {
      accessToken = this.#unsealed(wanted, access, false)
    } catch (error) {
      // Foreign content, or a missing key: as if there were no entry.
      if (error instanceof VaultError) return undefined
      throw error
    }
    if (this.#isRefused(accessToken)) {
      cache.forget({ ...wanted, epoch: cached.epoch })
      return undefined
    }
    instruments.tokens.inc({ source: 'cache' })
    return { accessToken, expiresAt, scopes }
  }

  #open(held: LeasedConnection): Token {
    const { scopes, legacy, tokens } = held
    return { accessToken: this.#unsealed(held, tokens.access, legacy), expiresAt: tokens.accessExpiresAt, scopes }
  }

  #unsealed({ workspace, connectionId }: Pick<LeasedConnection, 'workspace' | 'connectionId'>, access: string, legacy: boolean): string {
    const { vault, instruments } = this.#parts
    try {
      return vault.open({ workspace, connectionId, kind: 'access' }, access, { legacy })
    } catch (error) {
      if (error instanceof VaultError) instruments.decryptFailures.inc({ reason: error.reason })
      throw error
    }
  }

  #remember(sha256: string): void {
    this.#refused.add(sha256.toLowerCase())
    const [oldest] = this.#refused
    if (this.#refused.size > maxRejected) this.#refused.delete(oldest!)
  }

  #isRefused(accessToken: string): boolean {
    return this.#refused.size > 0 && this.#refused.has(createHash('sha256').update(accessToken).digest('hex'))
  }
}

/** The part of a token's life that counts, up to a limit. */
function limitMs({ tokens, connectedAt, refreshedAt }: LeasedConnection, { ms, ofLife }: typeof ahead): number {
  const lifetimeMs = tokens.accessExpiresAt.getTime() - (refreshedAt ?? connectedAt).getTime()
  return Math.min(ms, Math.max(0, lifetimeMs) * ofLife)
}

const isDependencyUnavailable = (error: unknown): boolean => error instanceof MeshError && error.reason === 'DEPENDENCY_UNAVAILABLE'

/** The result of a promise, or DEPENDENCY_UNAVAILABLE after so many milliseconds. */
async function within<T>(promise: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(meshErrors.DEPENDENCY_UNAVAILABLE()), ms)
  })
  promise.catch(() => undefined)
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
