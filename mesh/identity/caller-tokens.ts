/**
 * Verifies outside callers by the tokens that access signs for them (Ed25519 JWT), locally: with the last known keys and revocations. A
 * verified token is accepted synchronously for as long as its time, its signing key and its API key are valid.
 */
import type { KeyObject } from 'node:crypto'
import { errors } from 'jose'
import { keyEndRetentionMs } from '../api-key.ts'
import { meshErrors } from '../errors.ts'
import type { Caller } from '../grpc/caller.ts'
import { publicKeyOf } from './ed25519.ts'
import { LruCache } from '../lru-cache.ts'
import { type Claims, type TokenKind, claimsOf, endOf, isName } from './token-rules.ts'

/** The rules of a caller token, for its issuer and its verifiers. */
export const callerToken = { typ: 'relay-caller+jwt', issuer: 'relay-access', audience: 'relay-mesh' } as const satisfies TokenKind

const maxCached = 10_000
const longest = { workspace: 128, actor: 128, keyId: 64, permission: 64 }
const maxPermissions = 100

/** A public key of tokens (RFC 8037). */
export interface SigningKey {
  kid: string
  /** base64url, without padding. */
  x: string
}

export interface Revocation {
  keyId: string
  /** When tokens of the API key stop being valid, in epoch milliseconds; a time in the past means at once. */
  notAfterMs: number
}

export interface CallerTokensParts {
  /** In epoch milliseconds. */
  now?: () => number
  /** Fetches news about the keys, if possible; a token with an unknown key waits for it. Rejects if access is unavailable. */
  onUnknownKid?: () => Promise<void>
}

interface Key extends SigningKey {
  readonly key: KeyObject
}

interface VerifiedToken {
  caller: Caller
  by: Key
  endMs: number
}

export class CallerTokens {
  readonly #now: () => number
  readonly #onUnknownKid: () => Promise<void>
  /** Undefined until the first update. */
  #keys: ReadonlyMap<string, Key> | undefined
  readonly #revoked = new Map<string, { fromMs: number; keptUntilMs: number }>()
  readonly #cache = new LruCache<VerifiedToken>(maxCached)

  constructor({ now = Date.now, onUnknownKid = async () => {} }: CallerTokensParts = {}) {
    this.#now = now
    this.#onUnknownKid = onUnknownKid
  }

  /**
   * Applies an update: `signingKeys` are all valid keys from now on, `revocations` are added to the known ones. Throws for an invalid key,
   * before anything changes.
   */
  update({ signingKeys, revocations = [] }: { signingKeys?: readonly SigningKey[]; revocations?: readonly Revocation[] }): void {
    const known = this.#keys
    const keys = signingKeys?.map(({ kid, x }) => {
      const same = known?.get(kid)
      return [kid, same?.x === x ? same : { kid, x, key: publicKeyOf(x) }] as const
    })
    if (keys !== undefined) this.#keys = new Map(keys)
    for (const revocation of revocations) this.#revoke(revocation)
    if (revocations.length > 0) this.#forget()
  }

  /** The caller of this token; undefined if it is not valid. Rejects with DEPENDENCY_UNAVAILABLE if that is unknown now. */
  caller(token: string): Caller | undefined | Promise<Caller | undefined> {
    const proven = this.#cache.get(token)
    if (proven === undefined) return this.#verify(token)
    if (this.#stands(proven)) return proven.caller
    this.#cache.delete(token)
    return undefined
  }

  /** Whether an API key has not been revoked, as far as is known, so that what it began may continue. Its expiry is in its tokens. */
  keyStands(keyId: string): boolean {
    const revoked = this.#revoked.get(keyId)
    return revoked === undefined || this.#now() < revoked.fromMs
  }

  async #verify(token: string): Promise<Caller | undefined> {
    if (this.#keys === undefined) await this.#ask()
    if (this.#keys === undefined) throw meshErrors.DEPENDENCY_UNAVAILABLE()
    let by: Key | undefined
    const claims = await claimsOf(token, callerToken, async ({ kid = '' }) => (by = await this.#keyOf(kid)).key, this.#now())
    const caller = claims === undefined ? undefined : callerIn(claims)
    if (claims === undefined || caller === undefined || by === undefined) return undefined
    const proven = { caller, by, endMs: endOf(claims) }
    // Checked again: keys may have been removed meanwhile.
    if (!this.#stands(proven)) return undefined
    this.#cache.set(token, proven)
    return caller
  }

  #stands({ caller, by, endMs }: VerifiedToken): boolean {
    return this.#now() < endMs && this.#keys?.get(by.kid) === by && this.keyStands(caller.keyId)
  }

  async #keyOf(kid: string): Promise<Key> {
    if (!this.#keys?.has(kid)) await this.#ask()
    const found = this.#keys?.get(kid)
    if (found === undefined) throw new errors.JWKSNoMatchingKey()
    return found
  }

  async #ask(): Promise<void> {
    try {
      await this.#onUnknownKid()
    } catch (cause) {
      throw meshErrors.DEPENDENCY_UNAVAILABLE({ cause })
    }
  }

  #revoke({ keyId, notAfterMs }: Revocation): void {
    // The earliest time counts: a key with an expiry can be revoked, and never the reverse.
    const fromMs = Math.min(notAfterMs, this.#revoked.get(keyId)?.fromMs ?? Infinity)
    this.#revoked.set(keyId, { fromMs, keptUntilMs: Math.max(notAfterMs, this.#now()) + keyEndRetentionMs })
  }

  /** Drops revocations that no valid token can be affected by. */
  #forget(): void {
    const now = this.#now()
    for (const [keyId, { keptUntilMs }] of this.#revoked) if (keptUntilMs < now) this.#revoked.delete(keyId)
  }
}

/**
 * The caller that the claims name: `sub` acts in `ws` by the key `key`, which expires at `kexp` (in seconds), if ever. Undefined if access
 * does not write such claims.
 */
function callerIn({ sub, ws, key, kexp, perms }: Claims): Caller | undefined {
  if (!isName(sub, longest.actor) || !isName(ws, longest.workspace) || !isName(key, longest.keyId)) return undefined
  if (!Array.isArray(perms) || perms.length > maxPermissions) return undefined
  if (!perms.every((each) => isName(each, longest.permission))) return undefined
  if (kexp !== undefined && !Number.isSafeInteger(kexp)) return undefined
  const keyExpiresAtMs = kexp === undefined ? undefined : (kexp as number) * 1000
  const permissions = new Set<string>(perms)
  return Object.freeze({ workspace: ws, actor: sub, keyId: key, keyExpiresAtMs, may: (permission: string) => permissions.has(permission) })
}
