/**
 * Exchanges an API key for a caller token, which every service of the mesh verifies by itself. The gateway, which accepts keys of others,
 * and internal services with a key of their own use this class:
 *
 *   const tokenSource = new CallerTokenSource({ exchange: exchangeClient(new Channel({ address: 'access:7104' })) })
 *   await actions.listActions({}, { ...ownContext(), callerToken: await tokenSource.token(apiKey) })
 *
 * The first use of a key calls access once, however many callers wait. The token is kept until it expires, and renewed in the background
 * when it is used with less than a minute left: a steady caller never waits again. A key that access rejects is not sent again for ten
 * seconds.
 *
 * If access is slow, first uses wait for it up to the contract's deadline, a limited number at a time. If it is unavailable, known callers
 * continue until their token expires (at most five minutes), and new ones get DEPENDENCY_UNAVAILABLE. If it says that a key has ended, or
 * the verifier no longer accepts a token of it, the key is dropped and exchanged again.
 *
 * Keys are stored as hashes, and sent only to access.
 */
import { hash } from 'node:crypto'
import { AccessServiceService, type ExchangeRequest, type ExchangeResponse } from '#gen/relay/access/v1/access.ts'
import { mayComeFrom } from './allowed-sources.ts'
import { type KeyEnv, parseApiKey } from './api-key.ts'
import { MeshError, meshErrors } from './errors.ts'
import { type Context, ownContext } from './grpc/call.ts'
import type { Caller, Verifier } from './grpc/caller.ts'
import { type Channel, methodsOf } from './grpc/client.ts'
import { LruCache } from './lru-cache.ts'

export type Exchange = (request: ExchangeRequest, context: Context) => Promise<ExchangeResponse>

export const exchangeClient = (channel: Channel): Exchange => methodsOf(AccessServiceService, channel).exchange

export interface CallerTokenSourceParts {
  exchange: Exchange
  /** Verifies tokens at each use. Without one a token is used until it expires, or until a service rejects it. */
  verifier?: Pick<Verifier, 'caller'>
  /** Keys of other environments are rejected without a call; if unset, access decides. */
  env?: KeyEnv
  /** A monotonic clock, in milliseconds. */
  now?: () => number
}

export interface Authenticated {
  readonly caller: Caller
  /** The token for the services, as `callerToken` of a Context. */
  readonly token: string
}

/** A definite rejection. */
export interface Rejection {
  readonly caller?: undefined
  /** UNAUTHENTICATED or PERMISSION_DENIED, to be thrown as it is: the same whether or not access was called. */
  readonly error: MeshError
  /** The reason, for the audit log only; from access, if it was called. */
  readonly reason: 'KEY_MALFORMED' | 'KEY_REFUSED' | 'SOURCE_REFUSED'
  /** The owner of the key, as far as known; otherwise empty. */
  readonly of: { readonly workspace: string; readonly actor: string; readonly keyId: string }
  /** Whether access rejected it in this very response: then it has counted it, and knows more about the key. */
  readonly counted: boolean
}

interface CachedExchange {
  readonly token: string
  readonly caller: Caller
  readonly allowedSources: readonly string[]
  readonly expiresAt: number
  /** From when on its use renews it; deferred when a renewal fails. */
  renewAt: number
  /** The last address that was allowed: most keys are used from one, and comparing networks takes longer than everything else here. */
  lastSource?: string | undefined
}

interface CachedRejection {
  readonly answer: Rejection
  readonly until: number
}

const maxLifetimeMs = 5 * 60_000
const renewBeforeMs = 60_000
/** The minimum interval between attempts to renew one token, in milliseconds. */
const renewAgainMs = 1000
const refusedMs = 10_000
/** Maximum keys that are cached, and likewise rejected ones. */
const maxCached = 10_000
/** Maximum concurrent exchanges. Checksums can be forged: strangers must not be able to make access, or us, hold more. */
const maxInFlight = 256

const nobody = Object.freeze({ workspace: '', actor: '', keyId: '' })

const rejection = (reason: Rejection['reason'], error: MeshError, of: Rejection['of'] = nobody, counted = false): Rejection => ({
  reason,
  error,
  of: { workspace: of.workspace, actor: of.actor, keyId: of.keyId },
  counted,
})
const uncounted = <Answer extends CachedExchange | Rejection>(answer: Answer): Answer =>
  'reason' in answer ? { ...answer, counted: false } : answer
const notValid = () =>
  meshErrors.UNAUTHENTICATED({
    message: 'This API key is not valid. Check its spelling, or use a key that has not expired or been revoked.',
  })
const fromElsewhere = ({ caller }: CachedExchange) =>
  rejection(
    'SOURCE_REFUSED',
    meshErrors.PERMISSION_DENIED({ message: 'This API key may not be used from this address. Use one of its allowed_sources.' }),
    caller,
  )

export class CallerTokenSource {
  readonly #exchange: Exchange
  readonly #verifier: Pick<Verifier, 'caller'> | undefined
  readonly #env: KeyEnv | undefined
  readonly #now: () => number
  /** By the hash of the key. */
  readonly #kept = new LruCache<CachedExchange>(maxCached)
  /** By the hash of the key; by the hash and the source if it was rejected for its source. */
  readonly #refused = new LruCache<CachedRejection>(maxCached)
  /** By the hash and the source: a key that is rejected from one address may be valid from another. */
  readonly #inFlight = new Map<string, Promise<CachedExchange | Rejection>>()

  constructor(parts: CallerTokenSourceParts) {
    this.#exchange = parts.exchange
    this.#verifier = parts.verifier
    this.#env = parts.env
    this.#now = parts.now ?? (() => performance.now())
  }

  /**
   * The caller of the key, from `context.source`. Synchronous for a known key. Throws DEPENDENCY_UNAVAILABLE or OVERLOADED (or rejects) if
   * that cannot be found out now.
   */
  caller(apiKey: string, context: Context): Authenticated | Rejection | Promise<Authenticated | Rejection> {
    const id = hash('sha256', apiKey, 'base64')
    const kept = this.#kept.get(id)
    if (kept === undefined || kept.expiresAt <= this.#now()) return this.#first(id, apiKey, context)
    if (!fromItsPlace(kept, context.source)) return fromElsewhere(kept)
    if (kept.renewAt <= this.#now()) this.#renew(id, apiKey, kept, context)
    const caller = this.#believed(kept)
    const settle = (found: Caller | undefined) =>
      found === undefined ? this.#anew(id, apiKey, context, kept) : { caller: found, token: kept.token }
    return caller instanceof Promise ? caller.then(settle) : settle(caller)
  }

  /** A token for the caller's own key. Throws UNAUTHENTICATED or PERMISSION_DENIED if access rejects it. */
  async token(apiKey: string, context: Context = ownContext()): Promise<string> {
    const answer = await this.caller(apiKey, context)
    if (answer.caller === undefined) throw answer.error
    return answer.token
  }

  /** Without a verifier, call this when a service rejects a token with UNAUTHENTICATED: the next use of the key calls access. */
  forget(apiKey: string): void {
    this.#kept.delete(hash('sha256', apiKey, 'base64'))
  }

  /** The caller of a token as the verifier sees it now, including revocations. */
  #believed({ token, caller }: CachedExchange): Caller | undefined | Promise<Caller | undefined> {
    return this.#verifier === undefined ? caller : this.#verifier.caller(token)
  }

  /** The key was revoked, or the signing key of its token was removed: access says which. */
  #anew(id: string, apiKey: string, context: Context, kept: CachedExchange): Rejection | Promise<Authenticated | Rejection> {
    if (this.#kept.get(id) === kept) this.#kept.delete(id)
    return this.#first(id, apiKey, context, kept.caller)
  }

  /** `was`: the caller of the key when it was last valid. */
  #first(id: string, apiKey: string, context: Context, was?: Caller): Rejection | Promise<Authenticated | Rejection> {
    const env = parseApiKey(apiKey)?.env
    if (env === undefined || (this.#env !== undefined && env !== this.#env)) return rejection('KEY_MALFORMED', notValid())
    const refused = this.#refusal(id) ?? this.#refusal(`${id} ${context.source}`)
    return refused ?? this.#exchanged(id, apiKey, context, was)
  }

  #refusal(id: string): Rejection | undefined {
    const refused = this.#refused.get(id)
    return refused !== undefined && refused.until > this.#now() ? refused.answer : undefined
  }

  async #exchanged(id: string, apiKey: string, context: Context, was: Caller | undefined): Promise<Authenticated | Rejection> {
    const got = await this.#once(id, apiKey, context, was)
    if ('reason' in got) return got
    return fromItsPlace(got, context.source) ? { caller: got.caller, token: got.token } : fromElsewhere(got)
  }

  #renew(id: string, apiKey: string, kept: CachedExchange, context: Context): void {
    kept.renewAt = this.#now() + renewAgainMs
    if (this.#inFlight.size >= maxInFlight) return
    // Unavailable or overloaded: the cached token is still valid, and its next use tries again.
    this.#once(id, apiKey, context, kept.caller).then(
      (got) => {
        if ('reason' in got && this.#kept.get(id) === kept) this.#kept.delete(id)
      },
      () => undefined,
    )
  }

  /** One exchange for all callers with the same key from the same address. */
  #once(id: string, apiKey: string, context: Context, was: Caller | undefined): Promise<CachedExchange | Rejection> {
    const asked = `${id} ${context.source}`
    const inFlight = this.#inFlight.get(asked)
    if (inFlight !== undefined) return inFlight.then(uncounted)
    if (this.#inFlight.size >= maxInFlight) return Promise.reject(meshErrors.OVERLOADED({ retryAfterMs: 1000 }))
    const answer = this.#ask(id, apiKey, context, was).finally(() => this.#inFlight.delete(asked))
    this.#inFlight.set(asked, answer)
    return answer
  }

  async #ask(
    id: string,
    apiKey: string,
    { requestId, trace, source }: Context,
    was: Caller | undefined,
  ): Promise<CachedExchange | Rejection> {
    const began = this.#now()
    try {
      // Without the signal of the first caller: others wait for it too.
      const got = keep(await this.#exchange({ apiKey, source }, { requestId, trace, source }), began)
      const caller = await this.#believed(got)
      // Just revoked, or the feed of access lags behind: not the caller's fault, and no reason to drop a valid token.
      if (caller === undefined) throw new Error('a token that access gave out does not verify')
      const kept = { ...got, caller }
      this.#kept.set(id, kept)
      return kept
    } catch (error) {
      const answer = refusalIn(error, was)
      if (answer === undefined) throw unavailable(error)
      const refused = answer.reason === 'SOURCE_REFUSED' ? `${id} ${source}` : id
      this.#refused.set(refused, { answer: uncounted(answer), until: this.#now() + refusedMs })
      return answer
    }
  }
}

/** Counted from the start of the request, which may have taken long. */
function keep(response: ExchangeResponse, began: number): CachedExchange {
  const { token, expiresInMs, workspace, actor, keyId, permissions, allowedSources } = response
  const lifetimeMs = Math.min(expiresInMs, maxLifetimeMs)
  const may = new Set(permissions)
  return {
    token,
    caller: Object.freeze({ workspace, actor, keyId, may: (permission: string) => may.has(permission) }),
    allowedSources,
    expiresAt: began + lifetimeMs,
    renewAt: began + lifetimeMs - Math.min(renewBeforeMs, lifetimeMs / 2),
  }
}

function fromItsPlace(kept: CachedExchange, source: string | undefined): boolean {
  if (source !== undefined && source === kept.lastSource) return true
  if (!mayComeFrom(source, kept.allowedSources)) return false
  kept.lastSource = source
  return true
}

/** The verdict of access on the key itself; undefined for any other failure. */
function refusalIn(error: unknown, was: Caller | undefined): Rejection | undefined {
  if (!(error instanceof MeshError)) return undefined
  if (error.code === 'UNAUTHENTICATED') return rejection('KEY_REFUSED', error, was, true)
  return error.code === 'PERMISSION_DENIED' ? rejection('SOURCE_REFUSED', error, was, true) : undefined
}

/** Whatever access could not do is no verdict on the key. Its own word that it is asked too often goes on. */
function unavailable(error: unknown): MeshError {
  if (error instanceof MeshError && error.code === 'RESOURCE_EXHAUSTED') return error
  return meshErrors.DEPENDENCY_UNAVAILABLE({ cause: error })
}
