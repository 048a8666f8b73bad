/** The browser returns from the provider, with the state that it was sent with, and the cookie that binds it. */
import { randomUUID } from 'node:crypto'
import type { Principal } from '#mesh/audit/event.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import { isSameAccount } from '../connections/account.ts'
import type { Connections } from '../connections/connections.ts'
import type { AccountGrant, Protocol } from '../providers/protocol.ts'
import { ProviderError, registeredCode } from '../providers/provider-error.ts'
import { type Provider, requestsOfflineAccess, isIssuer, missingScopes } from '../providers/provider.ts'
import { replacedBy } from '../revocations/revocation.ts'
import { type Vault, VaultError } from '../vault/vault.ts'
import { redirectUri } from './addresses.ts'
import type { Cookies } from './cookie.ts'
import { type PageResponse, type PageError, connectedPage, reconsentPage, redirect } from './pages.ts'
import { readStateToken } from './state-token.ts'
import { returnUrl } from './return-to.ts'
import { type PendingState, readState } from './pending-authorization.ts'
import type { TokenRevoker } from '../revocations/token-revoker.ts'
import type { ConnectStore } from './store.ts'
import { issueTicket, leftMs } from './ticket.ts'

export interface CallbackParts {
  readonly protocol: Pick<Protocol, 'exchangeCode'>
  readonly store: ConnectStore
  readonly vault: Pick<Vault, 'seal' | 'open'>
  readonly connections: Pick<Connections, 'find' | 'made'>
  readonly tokenRevoker: Pick<TokenRevoker, 'dropped'>
  /** Whether a key is active. Throws DEPENDENCY_UNAVAILABLE if that is unknown now. */
  readonly keyStands: (keyId: string) => boolean
  readonly cookies: Cookies
  readonly publicUrl: URL
  readonly returnOrigins: readonly string[]
  readonly log: Logger
  /** Undefined if it does not exist, or is not configured. */
  readonly provider: (name: string) => Provider | undefined
  readonly isKnown: (name: string) => boolean
}

/** What a browser returns with; missing values are empty. */
export interface CallbackRequest {
  readonly provider: string
  readonly state: string
  readonly code: string
  readonly iss: string
  readonly error: string
  readonly cookie: string
}

/** The call of the browser; the pending authorization says for whom it is. */
export type BrowserCall = Pick<Principal, 'requestId' | 'traceId' | 'source'>

/** The result; `outcome` is for counting. */
interface CallbackEnd {
  readonly outcome: string
  /** An error page, with the cookies to clear, or another page. */
  readonly answer: PageResponse | { readonly refusal: PageError; readonly setCookies: string[] }
}

export class Callback {
  readonly #parts: CallbackParts

  constructor(parts: CallbackParts) {
    this.#parts = parts
  }

  async receive(request: CallbackRequest, visit: BrowserCall): Promise<CallbackEnd> {
    const { store, cookies, isKnown } = this.#parts
    if (!isKnown(request.provider)) return refused('unknownProvider')
    const reference = readStateToken(request.state)
    if (reference === undefined) return refused('malformed')
    const key = { kind: 'state', ...reference } as const
    const pending = readState((await store.find(key)) ?? '')
    if (pending === undefined) return refused('ended')
    // A request without the cookie, such as one of a program that checks links, uses up nothing.
    if (!cookies.holds(request.cookie, reference.hash, pending.cookieHash)) return refused('otherBrowser')
    // What a key began ends with the key.
    if (!this.#mayGoOn(pending)) return refused('ended')
    // This state is used up, whatever the result.
    const done = [cookies.clear(reference.hash)]
    if ((await store.take(key)) === undefined) return refused('ended', done)
    const provider = this.#parts.provider(pending.provider)
    const refusal = this.#refusal(request, pending, provider)
    if (refusal !== undefined || provider === undefined) return refused(refusal ?? 'unavailable', done)
    try {
      return await this.#finish({ request, pending, provider, stateHash: reference.hash, visit, done })
    } catch (error) {
      return refused(this.#failed(error, provider, visit), done)
    }
  }

  /** Throws DEPENDENCY_UNAVAILABLE if it is unknown. */
  #mayGoOn(pending: PendingState): boolean {
    return leftMs(pending) > 0 && this.#parts.keyStands(pending.asker.keyId)
  }

  /** Checked again once tokens have been granted: in doubt they are not kept. */
  #mayConnect(pending: PendingState): boolean {
    try {
      return this.#mayGoOn(pending)
    } catch {
      return false
    }
  }

  /** What rejects a response before any request to the provider. */
  #refusal(request: CallbackRequest, pending: PendingState, provider: Provider | undefined): PageError | undefined {
    if (pending.provider !== request.provider) return 'refused'
    if (provider === undefined) return 'unavailable'
    // Errors too: one from another server says nothing (RFC 9207, 2.4).
    if (request.iss !== '' && !isIssuer(provider, request.iss)) return 'refused'
    if (request.error !== '') return this.#denied(request.error, provider)
    return request.code === '' ? 'malformed' : undefined
  }

  /** RFC 6749, 4.1.2.1. */
  #denied(error: string, { name }: Provider): PageError {
    const code = registeredCode(error)
    if (code === 'server_error' || code === 'temporarily_unavailable') return 'unavailable'
    const persons = ['access_denied', 'consent_required', 'interaction_required', 'login_required', 'account_selection_required']
    if (persons.includes(code)) return 'notGranted'
    // Not the person's fault: this installation requests something that it may not.
    this.#parts.log.error(
      { provider: name, code },
      'the provider rejects the request of this installation: check its client and its scopes',
    )
    return 'unavailable'
  }

  async #finish(its: {
    request: CallbackRequest
    pending: PendingState
    provider: Provider
    stateHash: string
    visit: BrowserCall
    done: string[]
  }) {
    const { request, pending, provider, stateHash, visit, done: setCookies } = its
    const { protocol, vault, connections, tokenRevoker, publicUrl, returnOrigins, log } = this.#parts
    const { asker, scopes, nonce } = pending
    const { workspace, actor } = asker
    const verifier = vault.open({ workspace, connectionId: stateHash, kind: 'verifier' }, pending.verifier)
    const parts = { code: request.code, iss: request.iss, redirectUri: redirectUri(publicUrl, provider), verifier, nonce, scopes }
    const connected = await protocol.exchangeCode(provider, parts)

    const owner = { workspace, actor, provider: provider.name }
    const { account, issuer, subject } = connected
    const drop = () => tokenRevoker.dropped(connected, { ...owner, connectionId: randomUUID(), issuer, subject })
    const before = await connections.find(owner)
    // Last: from here on only the store of the new connection is awaited.
    if (!this.#mayConnect(pending)) {
      await drop()
      return refused('ended', setCookies)
    }
    // The same account keeps its connection: what was previewed with it can still be executed.
    const same = before !== undefined && isSameAccount(before, connected) ? before : undefined
    if (connected.refreshToken === undefined && same?.tokens.refresh === undefined && requestsOfflineAccess(provider, scopes)) {
      if (pending.reconsent) {
        log.error(
          { provider: provider.name, request_id: visit.requestId },
          'the provider grants no refresh token, even after it asked for consent',
        )
        await drop()
        return refused('unavailable', setCookies)
      }
      const { returnTo, session, endsAt } = pending
      const again = { asker, provider: provider.name, scopes, returnTo, reconsent: true, session, endsAt }
      const startUrl = await issueTicket(this.#parts, again)
      return { outcome: 'reconsent', answer: reconsentPage({ provider: provider.title, startUrl, setCookies }) }
    }
    const connectionId = same?.connectionId ?? randomUUID()
    const tokens = this.#seal(workspace, connectionId, connected)
    const made = { ...owner, connectionId, account, issuer, subject, scopes: connected.scopes, tokens }
    await connections.made(made, { ...asker, ...visit }, replacedBy(made, provider))
    const url = pending.returnTo === '' ? undefined : returnUrl(pending.returnTo, returnOrigins)
    if (url === undefined) {
      const missing = missingScopes(scopes, connected.scopes)
      return { outcome: 'connected', answer: connectedPage({ provider: provider.title, account, missing, setCookies }) }
    }
    url.searchParams.set('connected', provider.name)
    url.searchParams.set('connection_id', connectionId)
    return { outcome: 'connected', answer: redirect(303, url.href, setCookies) }
  }

  #seal(workspace: string, connectionId: string, { accessToken, refreshToken, expiresInMs }: AccountGrant) {
    const { vault } = this.#parts
    return {
      access: vault.seal({ workspace, connectionId, kind: 'access' }, accessToken),
      accessExpiresAt: new Date(Date.now() + expiresInMs),
      refresh: refreshToken && vault.seal({ workspace, connectionId, kind: 'refresh' }, refreshToken),
    }
  }

  /** The page for the person; the operator gets the log line. */
  #failed(error: unknown, { name: provider }: Pick<Provider, 'name'>, { requestId: request_id }: BrowserCall): PageError {
    const { log } = this.#parts
    if (error instanceof VaultError) {
      log.error({ reason: error.reason, request_id }, 'the verifier of a state cannot be decrypted')
      return error.reason === 'context_mismatch' ? 'refused' : 'ended'
    }
    if (!(error instanceof ProviderError)) throw error
    const { failure } = error
    if (failure.kind === 'foreign') return 'refused'
    if (failure.kind === 'refused' && failure.code === 'invalid_grant') return 'ended'
    // A rejected client or an invalid request: no account can be connected until an operator has looked.
    const level = failure.kind === 'refused' ? 'error' : 'warn'
    log[level]({ provider, ...failure, request_id }, 'the provider did not exchange the code')
    return 'unavailable'
  }
}

const refused = (refusal: PageError, setCookies: string[] = []): CallbackEnd => ({ outcome: refusal, answer: { refusal, setCookies } })
