/**
 * Access tokens outside the database, for while it is away: as the vault sealed them, until they expire. What is in the database is the
 * truth: it is asked first, and a cache that does not answer is none.
 *
 * Whatever is written here has the epoch of its row, and nothing with an earlier one takes its place: not even what somebody who was slow
 * read before the connection was removed.
 */
import type { LeasedConnection, Owner } from './store.ts'

/** What is needed to hand out a token without the database. */
export interface CachedToken {
  readonly connectionId: string
  readonly epoch: number
  readonly scopes: readonly string[]
  readonly access: string
  readonly accessExpiresAt: Date
}

export interface TokenCache {
  find(owner: Owner): Promise<CachedToken | undefined>
  /** In the background: nobody waits for it. */
  put(held: LeasedConnection): void
  /** What has this epoch or an earlier one; in the background as well. */
  forget(owner: Owner & { readonly epoch: number }): void
}

/** Where there is no Redis: tokens are handed out while Postgres answers. */
export const noCache: TokenCache = {
  find: async () => undefined,
  put: () => undefined,
  forget: () => undefined,
}

/** As `oauth:token:google:acme:ann`; what has a colon in its name cannot pass for another. */
export const cacheKey = ({ provider, workspace, actor }: Owner): string =>
  `oauth:token:${[provider, workspace, actor].map(encodeURIComponent).join(':')}`

/** JSON; short names, since there is one for each connection. */
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
