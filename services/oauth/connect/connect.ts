/**
 * Connecting an account, in steps that each can be taken once: whoever has a key gets a ticket; a person who opens its link reads what it
 * is for, and continues from there; their browser is bound by a cookie and sent to the provider with a state; the browser that comes back
 * with both has connected. Ticket and state name their workspace, are known here by their hash alone, and end after ten minutes; all of it
 * ends after twenty, and with the key that began it.
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
  /** Whether a key stands that began to connect. Throws DEPENDENCY_UNAVAILABLE where that cannot be told now. */
  keyStands: (keyId: string) => boolean
  /** Where browsers reach this; https, but for http on loopback. */
  publicUrl: URL
  /** Origins that a browser may be sent on to when it has connected. */
  returnOrigins: readonly string[]
  log: Logger
  /** Told what became of each step, in words of a closed set. */
  onStep?: (step: Step, outcome: string) => void
}

type Step = 'authorize' | 'start' | 'continue' | 'callback'

export interface AuthorizeRequest {
  readonly provider: string
  /** All that the provider's actions need when empty. */
  readonly scopes: readonly string[]
  /** A page of ours says how it went when empty. */
  readonly returnTo: string
  /** SHA-256, in hex, of the session of the one browser that may connect; any may where it is undefined. */
  readonly session?: string | undefined
  /** When the key of whoever asks expires, in epoch milliseconds: what it began ends with it. */
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
   * Makes a ticket. Throws UNKNOWN_PROVIDER, OAUTH_NOT_CONFIGURED, RETURN_NOT_ALLOWED, INVALID_REQUEST, CONNECTION_LIMIT; UNAUTHENTICATED
   * where the key expires as it asks: verifiers believe its last token a few seconds longer.
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

  /** The page of a ticket. It uses nothing up. */
  start(ticket: string, cookie: string, visit: BrowserCall): Promise<PageResponse> {
    return this.#answer('start', visit, async () => ended('shown', await this.#start.show(ticket, cookie)))
  }

  /** What that page's form leads to: the provider. */
  proceed({ ticket, formToken, cookie }: { ticket: string; formToken: string; cookie: string }, visit: BrowserCall): Promise<PageResponse> {
    return this.#answer('continue', visit, async () => ended('sent', await this.#start.proceed(ticket, formToken, cookie)))
  }

  /** Takes back the browser that was sent off. */
  callback(request: CallbackRequest, visit: BrowserCall): Promise<PageResponse> {
    return this.#answer('callback', visit, () => this.#callback.receive(request, visit))
  }

  /** A browser is answered with a page, also where a part of this is away. */
  async #answer(step: Step, visit: BrowserCall, work: () => Promise<FinishedConnect>): Promise<PageResponse> {
    const { log } = this.#parts
    const request_id = visit.requestId
    const { outcome, answer: response } = await work().catch((error: unknown) => {
      if (error instanceof ProviderError) log.warn({ ...error.failure, request_id }, 'a provider does not answer')
      else if (!(error instanceof MeshError && error.code === 'UNAVAILABLE')) throw error
      return ended('', 'unavailable')
    })
    this.#told(step, outcome)
    if (!('refusal' in response)) return response
    log.info({ step, refusal: response.refusal, request_id }, 'connecting an account did not go on')
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
  /** Those that are of no use any more. */
  readonly setCookies: string[]
}

const ended = (outcome: string, response: PageResponse | PageError): FinishedConnect =>
  typeof response === 'string' ? { outcome: response, answer: { refusal: response, setCookies: [] } } : { outcome, answer: response }
