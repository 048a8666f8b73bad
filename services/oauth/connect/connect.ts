/**
 * Connecting an account, in three steps that each can be taken once: whoever has a key gets a ticket; the browser that shows it is bound by
 * a cookie and sent to the provider with a state; the browser that comes back with both has connected. Ticket and state name their
 * workspace, are known here by their hash alone, and end after ten minutes.
 */
import { randomUUID } from 'node:crypto'
import type { Asker } from '#mesh/audit/event.ts'
import { MeshError, meshErrors } from '#mesh/errors.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { Connections } from '../connections/connections.ts'
import { errors } from '../errors.ts'
import type { Connected, Protocol } from '../providers/protocol.ts'
import { ProviderError, registeredCode } from '../providers/provider-error.ts'
import { type Provider, asksOffline, isIssuer, isScope, missingScopes, withIdentity } from '../providers/provider.ts'
import type { Providers } from '../providers/registry.ts'
import { type Vault, VaultError } from '../vault/vault.ts'
import { cookies } from './cookie.ts'
import { type Answer, type Refusal, connectedPage, reconsentPage, redirect, refusalPage } from './pages.ts'
import { hashOf, newNonce, readReference, writeReference } from './reference.ts'
import { returnUrl } from './return-to.ts'
import { type PendingState, type Ticket, readState, readTicket, writeStep } from './step.ts'
import type { ConnectStore } from './store.ts'

export interface ConnectingParts {
  providers: Pick<Providers, 'find' | 'get'>
  protocol: Pick<Protocol, 'authorizationUrl' | 'exchangeCode'>
  store: ConnectStore
  vault: Pick<Vault, 'seal' | 'open'>
  connections: Pick<Connections, 'find' | 'made'>
  /** Where browsers reach this; https, but for http on loopback. */
  publicUrl: URL
  /** Origins that a browser may be sent on to when it has connected. */
  returnOrigins: readonly string[]
  log: Logger
  /** Told what became of each step, in words of a closed set. */
  onStep?: (step: 'authorize' | 'start' | 'callback', outcome: string) => void
}

export interface Wanted {
  readonly provider: string
  /** All that the provider's actions need when empty. */
  readonly scopes: readonly string[]
  /** A page of ours says how it went when empty. */
  readonly returnTo: string
}

export interface Begun {
  readonly startUrl: string
  readonly provider: string
  readonly scopes: readonly string[]
  readonly expiresAt: Date
}

/** What a browser brings back; empty where it has none of it. */
export interface CameBack {
  readonly provider: string
  readonly state: string
  readonly code: string
  readonly iss: string
  readonly error: string
  readonly cookie: string
}

/** Of the call that a browser makes: whom it is for stands in the step. */
export type Visit = Pick<Asker, 'requestId' | 'traceId' | 'source'>

/** How long a ticket, and then a state, may be taken. */
const stepMs = 600_000

export class Connecting {
  readonly #parts: ConnectingParts
  readonly #cookies: ReturnType<typeof cookies>

  constructor(parts: ConnectingParts) {
    this.#parts = parts
    this.#cookies = cookies({ secure: parts.publicUrl.protocol === 'https:' })
  }

  /** Makes a ticket. Throws UNKNOWN_PROVIDER, OAUTH_NOT_CONFIGURED, RETURN_NOT_ALLOWED, INVALID_REQUEST. */
  async authorize(asker: Asker, { provider: name, scopes: wanted, returnTo }: Wanted): Promise<Begun> {
    const provider = this.#parts.providers.get(name)
    const description = 'is no scope (RFC 6749, 3.3)'
    const violations = wanted.flatMap((scope, index) => (isScope(scope) ? [] : [{ field: `scopes.${index}`, description }]))
    if (violations.length > 0) throw meshErrors.INVALID_REQUEST({ violations })
    if (returnTo !== '' && returnUrl(returnTo, this.#parts.returnOrigins) === undefined) throw errors.RETURN_NOT_ALLOWED()
    const scopes = withIdentity(provider, wanted)
    const startUrl = await this.#ticket({ asker, provider: name, scopes, returnTo, reconsent: false })
    this.#told('authorize', 'begun')
    return { startUrl, provider: name, scopes, expiresAt: new Date(Date.now() + stepMs) }
  }

  /** Exchanges a ticket for a state, and sends the browser on to the provider with it. */
  start(text: string, visit: Visit): Promise<Answer> {
    return this.#answer('start', visit, async () => {
      const reference = readReference(text)
      if (reference === undefined) return 'malformed'
      const ticket = readTicket((await this.#parts.store.take({ kind: 'ticket', ...reference })) ?? '')
      if (ticket === undefined) return 'ended'
      const provider = this.#provider(ticket.provider)
      if (provider === undefined) return 'unavailable'
      return this.#sendOff(ticket, provider)
    })
  }

  /** Takes back the browser that `start` sent off. */
  callback(back: CameBack, visit: Visit): Promise<Answer> {
    return this.#answer('callback', visit, async () => {
      if (this.#parts.providers.find(back.provider) === undefined) return 'unknownProvider'
      const reference = readReference(back.state)
      if (reference === undefined) return 'malformed'
      // Whatever comes of it, this state has been used.
      const pending = readState((await this.#parts.store.take({ kind: 'state', ...reference })) ?? '')
      if (pending === undefined) return 'ended'
      const done = [this.#cookies.clear(reference.hash)]
      const provider = this.#provider(pending.provider)
      const refusal = this.#refusal(back, pending, reference.hash, provider)
      if (refusal !== undefined || provider === undefined) {
        return refusalPage(this.#note('callback', refusal ?? 'unavailable', visit), visit.requestId, done)
      }
      try {
        return await this.#finish({ back, pending, provider, stateHash: reference.hash, visit, done })
      } catch (error) {
        return refusalPage(this.#note('callback', this.#failed(error, provider, visit), visit), visit.requestId, done)
      }
    })
  }

  /** What speaks against an answer before anybody is asked. */
  #refusal(back: CameBack, pending: PendingState, stateHash: string, provider: Provider | undefined): Refusal | undefined {
    if (pending.provider !== back.provider) return 'refused'
    if (!this.#cookies.holds(back.cookie, stateHash, pending.cookieHash)) return 'otherBrowser'
    if (provider === undefined) return 'unavailable'
    // Also of an error: one that another server sent says nothing (RFC 9207, 2.4).
    if (back.iss !== '' && !isIssuer(provider, back.iss)) return 'refused'
    if (back.error !== '') return this.#denied(back.error, provider)
    return back.code === '' ? 'malformed' : undefined
  }

  /** RFC 6749, 4.1.2.1. */
  #denied(error: string, { name }: Provider): Refusal {
    const code = registeredCode(error)
    if (code === 'server_error' || code === 'temporarily_unavailable') return 'unavailable'
    const persons = ['access_denied', 'consent_required', 'interaction_required', 'login_required', 'account_selection_required']
    if (persons.includes(code)) return 'notGranted'
    // It is not the person's: this installation asks for what it may not.
    this.#parts.log.error({ provider: name, code }, 'the provider refuses what this installation asks: look at its client and its scopes')
    return 'unavailable'
  }

  async #finish(its: { back: CameBack; pending: PendingState; provider: Provider; stateHash: string; visit: Visit; done: string[] }) {
    const { back, pending, provider, stateHash, visit, done: setCookies } = its
    const { protocol, vault, connections, publicUrl, returnOrigins } = this.#parts
    const { asker, scopes, nonce } = pending
    const { workspace, actor } = asker
    const verifier = vault.open({ workspace, connectionId: stateHash, kind: 'verifier' }, pending.verifier)
    const parts = { code: back.code, iss: back.iss, redirectUri: redirectUri(publicUrl, provider), verifier, nonce, scopes }
    const connected = await protocol.exchangeCode(provider, parts)

    const owner = { workspace, actor, provider: provider.name }
    const before = await connections.find(owner)
    // The same account stays the same connection: what was previewed with it can still be executed.
    const same = before?.account === connected.account ? before : undefined
    if (connected.refreshToken === undefined && same?.tokens.refresh === undefined && asksOffline(provider, scopes)) {
      const { returnTo } = pending
      const startUrl = await this.#ticket({ asker, provider: provider.name, scopes, returnTo, reconsent: true })
      this.#told('callback', 'reconsent')
      return reconsentPage({ provider: provider.title, startUrl, setCookies })
    }
    const connectionId = same?.connectionId ?? randomUUID()
    const tokens = this.#seal(workspace, connectionId, connected)
    const { account } = connected
    await connections.made({ ...owner, connectionId, account, scopes: connected.scopes, tokens }, { ...asker, ...visit })
    this.#told('callback', 'connected')
    const url = pending.returnTo === '' ? undefined : returnUrl(pending.returnTo, returnOrigins)
    if (url === undefined) {
      return connectedPage({ provider: provider.title, account, missing: missingScopes(scopes, connected.scopes), setCookies })
    }
    url.searchParams.set('connected', provider.name)
    url.searchParams.set('connection_id', connectionId)
    return redirect(303, url.href, setCookies)
  }

  #seal(workspace: string, connectionId: string, { accessToken, refreshToken, expiresInMs }: Connected) {
    const { vault } = this.#parts
    return {
      access: vault.seal({ workspace, connectionId, kind: 'access' }, accessToken),
      accessExpiresAt: new Date(Date.now() + expiresInMs),
      refresh: refreshToken && vault.seal({ workspace, connectionId, kind: 'refresh' }, refreshToken),
    }
  }

  async #ticket(ticket: Ticket): Promise<string> {
    const { workspace } = ticket.asker
    const nonce = newNonce()
    await this.#parts.store.put({ kind: 'ticket', workspace, hash: hashOf(nonce) }, writeStep(ticket), stepMs)
    return new URL(`/oauth/start/${writeReference(workspace, nonce)}`, this.#parts.publicUrl).href
  }

  async #sendOff(ticket: Ticket, provider: Provider): Promise<Answer> {
    const { protocol, store, vault, publicUrl } = this.#parts
    const { workspace } = ticket.asker
    const [state, secret, verifier, nonce] = [newNonce(), newNonce(), newNonce(), newNonce()]
    const hash = hashOf(state)
    const sealed = vault.seal({ workspace, connectionId: hash, kind: 'verifier' }, verifier)
    const { scopes, reconsent } = ticket
    const asked = { redirectUri: redirectUri(publicUrl, provider), scopes, reconsent }
    const url = await protocol.authorizationUrl(provider, { ...asked, state: writeReference(workspace, state), verifier, nonce })
    const pending: PendingState = { ...ticket, cookieHash: hashOf(secret), verifier: sealed, nonce }
    await store.put({ kind: 'state', workspace, hash }, writeStep(pending), stepMs)
    this.#told('start', 'sent')
    return redirect(302, url.href, [this.#cookies.bind(hash, secret, stepMs)])
  }

  #provider(name: string): Provider | undefined {
    const found = this.#parts.providers.find(name)
    return found !== undefined && 'provider' in found ? found.provider : undefined
  }

  /** What a person hears where something did not work; whoever operates this hears it by the log. */
  #failed(error: unknown, { name: provider }: Pick<Provider, 'name'>, { requestId: request_id }: Visit): Refusal {
    const { log } = this.#parts
    if (error instanceof VaultError) {
      log.error({ reason: error.reason, request_id }, 'the verifier of a state does not open')
      return error.reason === 'swapped' ? 'refused' : 'ended'
    }
    if (!(error instanceof ProviderError)) throw error
    const { failure } = error
    if (failure.kind === 'foreign') return 'refused'
    if (failure.kind === 'refused' && failure.code === 'invalid_grant') return 'ended'
    // A client that is not accepted, or a request that is not: nobody connects until somebody has looked.
    const level = failure.kind === 'refused' ? 'error' : 'warn'
    log[level]({ provider, ...failure, request_id }, 'the provider did not exchange a code')
    return 'unavailable'
  }

  /** A browser is answered with a page, also where a part of this is away. */
  async #answer(step: 'start' | 'callback', visit: Visit, work: () => Promise<Answer | Refusal>): Promise<Answer> {
    const answer = await work().catch((error: unknown): Refusal => {
      const request_id = visit.requestId
      if (error instanceof ProviderError) this.#parts.log.warn({ ...error.failure, request_id }, 'a provider does not answer')
      else if (!(error instanceof MeshError && error.code === 'UNAVAILABLE')) throw error
      return 'unavailable'
    })
    return typeof answer === 'string' ? refusalPage(this.#note(step, answer, visit), visit.requestId) : answer
  }

  #note(step: 'start' | 'callback', refusal: Refusal, { requestId }: Visit): Refusal {
    this.#parts.log.info({ step, refusal, request_id: requestId }, 'connecting an account did not go on')
    this.#told(step, refusal)
    return refusal
  }

  #told(step: 'authorize' | 'start' | 'callback', outcome: string): void {
    this.#parts.onStep?.(step, outcome)
  }
}

/** The one redirect URI of a provider: what is registered there. */
export const redirectUri = (publicUrl: URL, { name }: Pick<Provider, 'name'>): string => new URL(`/oauth/${name}/callback`, publicUrl).href
