/**
 * Connects an account, in steps that can each be taken once. A caller with a key gets a ticket. A person who opens its link reads what it
 * is for, and continues from there. Their browser is bound by a cookie and sent to the provider with a state. The browser that returns with
 * both has connected. Ticket and state name their workspace, are stored only as hashes, and expire after ten minutes; everything expires
 * after twenty, and with the key that began it.
 */
import type { Principal } from '#mesh/audit/event.ts'
import { MeshError, meshErrors } from '#mesh/errors.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { Connections } from '../connections/connections.ts'
import { errors } from '../errors.ts'
import type { Protocol } from '../providers/protocol.ts'
import { ProviderError } from '../providers/provider-error.ts'
import { type Provider, isScope, withIdentity } from '../providers/provider.ts'
import type { Providers } from '../providers/registry.ts'
import type { Vault } from '../vault/vault.ts'
import { Callback, type CallbackRequest, type BrowserCall } from './callback.ts'
import { cookies as cookiesOf } from './cookie.ts'
import { type PageResponse, type PageError, errorPage } from './pages.ts'
import { returnUrl } from './return-to.ts'
import type { TokenRevoker } from '../revocations/token-revoker.ts'
import { Start } from './start.ts'
import type { ConnectStore } from './store.ts'
import { connectMs, issueTicket, leftMs } from './ticket.ts'

export interface ConnectFlowParts {
  providers: Pick<Providers, 'find' | 'get'>
  protocol: Pick<Protocol, 'authorizationUrl' | 'exchangeCode'>
  store: ConnectStore
  vault: Pick<Vault, 'seal' | 'open'>
  connections: Pick<Connections, 'find' | 'made' | 'hasRoom'>
  tokenRevoker: Pick<TokenRevoker, 'dropped'>
  /** Whether the key that began to connect is active. Throws DEPENDENCY_UNAVAILABLE if that is unknown now. */
  keyStands: (keyId: string) => boolean
  /** The public URL for browsers; https, except http on loopback. */
  publicUrl: URL
  /** Origins that a browser may be redirected to after connecting. */
  returnOrigins: readonly string[]
  log: Logger
  /** Called with the outcome of each step, from a closed set. */
  onStep?: (step: Step, outcome: string) => void
}

type Step = 'authorize' | 'start' | 'continue' | 'callback'

export interface AuthorizeRequest {
  readonly provider: string
  /** If empty, everything that the provider's actions need. */
  readonly scopes: readonly string[]
  /** If empty, a page of ours shows the result. */
  readonly returnTo: string
  /** SHA-256, in hex, of the session of the only browser that may connect; any may if undefined. */
  readonly session?: string | undefined
  /** When the caller's key expires, in epoch milliseconds: what it began ends with it. */
  readonly keyExpiresAtMs?: number | undefined
}

export interface AuthorizeResult {
  readonly startUrl: string
  readonly provider: string
  readonly scopes: readonly string[]
  readonly expiresAt: Date
}

export class ConnectFlow {
  readonly #parts: ConnectFlowParts
  readonly #start: Start
  readonly #callback: Callback

  constructor(parts: ConnectFlowParts) {
    this.#parts = parts
    const { providers, publicUrl } = parts
    const provider = (name: string): Provider | undefined => {
      const found = providers.find(name)
      return found !== undefined && 'provider' in found ? found.provider : undefined
    }
    const own = { ...parts, provider, cookies: cookiesOf({ secure: publicUrl.protocol === 'https:' }) }
    this.#start = new Start(own)
    this.#callback = new Callback({ ...own, isKnown: (name) => providers.find(name) !== undefined })
  }

  /**
   * Creates a ticket. Throws UNKNOWN_PROVIDER, OAUTH_NOT_CONFIGURED, RETURN_NOT_ALLOWED, INVALID_REQUEST, CONNECTION_LIMIT; UNAUTHENTICATED
   * if the key expires during the call: verifiers accept its last token a few seconds longer.
   */
  async authorize(asker: Principal, request: AuthorizeRequest): Promise<AuthorizeResult> {
    const { provider: name, scopes: wanted, returnTo, session, keyExpiresAtMs = Infinity } = request
    const provider = this.#parts.providers.get(name)
    const description = 'is not a scope (RFC 6749, 3.3): repeat the parameter for each scope, as in scopes=a&scopes=b'
    const violations = wanted.flatMap((scope, index) => (isScope(scope) ? [] : [{ field: `scopes.${index}`, description }]))
    if (violations.length > 0) throw meshErrors.INVALID_REQUEST({ violations })
    if (returnTo !== '' && returnUrl(returnTo, this.#parts.returnOrigins) === undefined) throw errors.RETURN_NOT_ALLOWED()
    const owner = { workspace: asker.workspace, actor: asker.actor, provider: name }
    if (!(await this.#parts.connections.hasRoom(owner))) throw errors.CONNECTION_LIMIT()
    const scopes = withIdentity(provider, wanted)
    const now = Date.now()
    if (keyExpiresAtMs <= now) throw meshErrors.UNAUTHENTICATED({ message: 'The API key that makes this call has expired.' })
    const endsAt = Math.min(now + connectMs, keyExpiresAtMs)
    const startUrl = await issueTicket(this.#parts, { asker, provider: name, scopes, returnTo, reconsent: false, session, endsAt }, now)
    this.#told('authorize', 'begun')
    return { startUrl, provider: name, scopes, expiresAt: new Date(now + leftMs({ endsAt }, now)) }
  }

  /** The page of a ticket. It uses up nothing. */
  start(ticket: string, cookie: string, visit: BrowserCall): Promise<PageResponse> {
    return this.#answer('start', visit, async () => ended('shown', await this.#start.show(ticket, cookie)))
  }

  /** The redirect to the provider, after that page's form. */
  proceed({ ticket, formToken, cookie }: { ticket: string; formToken: string; cookie: string }, visit: BrowserCall): Promise<PageResponse> {
    return this.#answer('continue', visit, async () => ended('sent', await this.#start.proceed(ticket, formToken, cookie)))
  }

  /** Receives the browser that returns from the provider. */
  callback(request: CallbackRequest, visit: BrowserCall): Promise<PageResponse> {
    return this.#answer('callback', visit, () => this.#callback.receive(request, visit))
  }

  /** A browser always gets a page, even if a dependency is unavailable. */
  async #answer(step: Step, visit: BrowserCall, work: () => Promise<FinishedConnect>): Promise<PageResponse> {
    const { log } = this.#parts
    const request_id = visit.requestId
    const { outcome, answer: response } = await work().catch((error: unknown) => {
      if (error instanceof ProviderError) log.warn({ ...error.failure, request_id }, 'a provider does not respond')
      else if (!(error instanceof MeshError && error.code === 'UNAVAILABLE')) throw error
      return ended('', 'unavailable')
    })
    this.#told(step, outcome)
    if (!('refusal' in response)) return response
    log.info({ step, refusal: response.refusal, request_id }, 'account connection step rejected')
    return errorPage(response.refusal, request_id, response.setCookies)
  }

  #told(step: Step, outcome: string): void {
    this.#parts.onStep?.(step, outcome)
  }
}

interface FinishedConnect {
  /** For counting. */
  readonly outcome: string
  readonly answer: PageResponse | ConnectRefusal
}

interface ConnectRefusal {
  readonly refusal: PageError
  /** Cookies that are no longer needed. */
  readonly setCookies: string[]
}

const ended = (outcome: string, response: PageResponse | PageError): FinishedConnect =>
  typeof response === 'string' ? { outcome: response, answer: { refusal: response, setCookies: [] } } : { outcome, answer: response }
