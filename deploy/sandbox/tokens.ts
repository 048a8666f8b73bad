/**
 * The tokens that the sandbox has issued. `emulate` takes any token for its first user's; here only those count that were given out, for
 * the time that was said, and for the scopes that were granted. They are kept by their hashes, so that a kept file is no use to who reads
 * it.
 */
import { createHash } from 'node:crypto'
import type { ProviderName } from '#providers/list.ts'

export type Provider = ProviderName

export interface Grant {
  provider: Provider
  email: string
  clientId: string
  scopes: string[]
}

interface Access extends Grant {
  /** Milliseconds since 1970. */
  expiresAt: number
}

/** What is kept from one start to the next. */
export interface StoredTokens {
  access: Record<string, Access>
  refresh: Record<string, Grant>
}

const hash = (token: string): string => createHash('sha256').update(token).digest('base64url')

export class IssuedTokens {
  readonly #access: Map<string, Access>
  readonly #refresh: Map<string, Grant>
  readonly #now: () => number
  readonly #keep: (tokens: StoredTokens) => void

  constructor(kept: StoredTokens = { access: {}, refresh: {} }, keep: (tokens: StoredTokens) => void = () => undefined, now = Date.now) {
    this.#access = new Map(Object.entries(kept.access))
    this.#refresh = new Map(Object.entries(kept.refresh))
    this.#keep = keep
    this.#now = now
  }

  /** Remembers what was given out, for `ttlMs`. */
  issue(grant: Grant, accessToken: string, ttlMs: number, refreshToken?: string): void {
    this.#access.set(hash(accessToken), { ...grant, expiresAt: this.#now() + ttlMs })
    if (refreshToken !== undefined) this.#refresh.set(hash(refreshToken), grant)
    this.#kept()
  }

  /** Whose a token is; undefined where it was never issued, has ended, or is another provider's. */
  holder(accessToken: string, provider: Provider): Grant | undefined {
    const found = this.#access.get(hash(accessToken))
    return found !== undefined && found.expiresAt > this.#now() && found.provider === provider ? found : undefined
  }

  /** What a refresh token stands for, to that client alone. */
  refreshable(refreshToken: string, provider: Provider, clientId: string): Grant | undefined {
    const found = this.#refresh.get(hash(refreshToken))
    return found?.provider === provider && found.clientId === clientId ? found : undefined
  }

  isKnown(token: string): boolean {
    return this.#access.has(hash(token)) || this.#refresh.has(hash(token))
  }

  /** Whether somebody has let this client in before, and not taken it back since. */
  hasConsented({ provider, email, clientId }: Grant): boolean {
    return [...this.#refresh.values()].some((each) => each.provider === provider && each.email === email && each.clientId === clientId)
  }

  /** Forgets one token; a refresh token takes with it all that was granted with it. */
  revoke(token: string): void {
    const key = hash(token)
    const grant = this.#refresh.get(key)
    this.#refresh.delete(key)
    this.#access.delete(key)
    if (grant !== undefined) this.#drop((each) => each.provider === grant.provider && each.email === grant.email)
    this.#kept()
  }

  /** Forgets a refresh token that was exchanged for another; what it gave out goes on. */
  retire(refreshToken: string): void {
    this.#refresh.delete(hash(refreshToken))
    this.#kept()
  }

  /** From now on every access token has ended; refresh tokens go on. */
  expireAll(): void {
    this.#access.clear()
    this.#kept()
  }

  /** From now on nothing is valid, as after a person took the access away in their account. */
  revokeAll(): void {
    this.#access.clear()
    this.#refresh.clear()
    this.#kept()
  }

  #drop(matches: (grant: Grant) => boolean): void {
    for (const [key, grant] of this.#access) if (matches(grant)) this.#access.delete(key)
  }

  #kept(): void {
    const now = this.#now()
    for (const [key, { expiresAt }] of this.#access) if (expiresAt <= now) this.#access.delete(key)
    this.#keep({ access: Object.fromEntries(this.#access), refresh: Object.fromEntries(this.#refresh) })
  }
}
