/**
 * The tokens that the sandbox has issued. `emulate` accepts any token as its first user's; here a token is valid only if it was issued, for
 * its lifetime, and for its scopes. The sandbox stores their hashes, so that the file is useless to a reader.
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

/** What is stored from one start to the next. */
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

  /** Records an issued token, valid for `ttlMs`. */
  issue(grant: Grant, accessToken: string, ttlMs: number, refreshToken?: string): void {
    this.#access.set(hash(accessToken), { ...grant, expiresAt: this.#now() + ttlMs })
    if (refreshToken !== undefined) this.#refresh.set(hash(refreshToken), grant)
    this.#kept()
  }

  /** The owner of a token; undefined if it was never issued, has expired, or belongs to another provider. */
  holder(accessToken: string, provider: Provider): Grant | undefined {
    const found = this.#access.get(hash(accessToken))
    return found !== undefined && found.expiresAt > this.#now() && found.provider === provider ? found : undefined
  }

  /** The grant of a refresh token, for that client alone. */
  refreshable(refreshToken: string, provider: Provider, clientId: string): Grant | undefined {
    const found = this.#refresh.get(hash(refreshToken))
    return found?.provider === provider && found.clientId === clientId ? found : undefined
  }

  isKnown(token: string): boolean {
    return this.#access.has(hash(token)) || this.#refresh.has(hash(token))
  }

  /** Whether a person has granted this client access before, and not revoked it since. */
  hasConsented({ provider, email, clientId }: Grant): boolean {
    return [...this.#refresh.values()].some((each) => each.provider === provider && each.email === email && each.clientId === clientId)
  }

  /** Forgets one token. A refresh token takes all tokens of its grant with it. */
  revoke(token: string): void {
    const key = hash(token)
    const grant = this.#refresh.get(key)
    this.#refresh.delete(key)
    this.#access.delete(key)
    if (grant !== undefined) this.#drop((each) => each.provider === grant.provider && each.email === grant.email)
    this.#kept()
  }

  /** Forgets a refresh token that was exchanged for another; tokens issued from it stay valid. */
  retire(refreshToken: string): void {
    this.#refresh.delete(hash(refreshToken))
    this.#kept()
  }

  /** Expires every access token; refresh tokens stay valid. */
  expireAll(): void {
    this.#access.clear()
    this.#kept()
  }

  /** Invalidates everything, as if a person had revoked access in their account. */
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
