/**
 * Access tokens outside the database, for when it is unavailable: as the vault encrypted them, until they expire. The database is the truth
 * and is asked first; a cache that does not respond counts as empty.
 *
 * Every entry has the epoch of its row, and no entry with an earlier epoch replaces it: not even one that a slow process read before the
 * connection was removed.
 */
import type { LeasedConnection, Owner } from './store.ts'

/** What is needed to return a token without the database. */
export interface CachedToken {
  readonly connectionId: string
  readonly epoch: number
  readonly scopes: readonly string[]
  readonly access: string
  readonly accessExpiresAt: Date
}

export interface TokenCache {
  find(owner: Owner): Promise<CachedToken | undefined>
  /** In the background: no caller waits for it. */
  put(held: LeasedConnection): void
  /** Entries with this epoch or an earlier one; in the background as well. */
  forget(owner: Owner & { readonly epoch: number }): void
}

/** Without Redis: tokens are available while Postgres responds. */
export const noCache: TokenCache = {
  find: async () => undefined,
  put: () => undefined,
  forget: () => undefined,
}

/** As `oauth:token:google:acme:ann`; a colon in a name cannot make it look like another. */
export const cacheKey = ({ provider, workspace, actor }: Owner): string =>
  `oauth:token:${[provider, workspace, actor].map(encodeURIComponent).join(':')}`

/** JSON; short names, because there is one per connection. */
export function writeCached({ connectionId, scopes, tokens }: LeasedConnection): string {
  return JSON.stringify({ c: connectionId, s: scopes, a: tokens.access, x: tokens.accessExpiresAt.getTime() })
}

/** Undefined for anything that `writeCached` did not write. */
export function readCached(epoch: number, text: string): CachedToken | undefined {
  let read: unknown
  try {
    read = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof read !== 'object' || read === null) return undefined
  const { c, s, a, x } = read as Record<string, unknown>
  if (typeof c !== 'string' || typeof a !== 'string' || typeof x !== 'number') return undefined
  if (!Number.isSafeInteger(x) || !Number.isSafeInteger(epoch)) return undefined
  if (!Array.isArray(s) || !s.every((scope) => typeof scope === 'string')) return undefined
  return { connectionId: c, epoch, scopes: s, access: a, accessExpiresAt: new Date(x) }
}
