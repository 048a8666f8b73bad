/**
 * From a link to the provider. The link is a page that anyone may open, as often as they like, without using it up: links are sent to
 * people, and programs open them first. Only its form has an effect, in the browser that was shown the page.
 */
import type { Protocol } from '../providers/protocol.ts'
import { type Provider, permissionsOf } from '../providers/provider.ts'
import type { Vault } from '../vault/vault.ts'
import { redirectUri, startPath } from './addresses.ts'
import { type Cookies, formToken, isFormToken } from './cookie.ts'
import { type PageResponse, type PageError, consentPage, forwardPage } from './pages.ts'
import { type StateToken, hashOf, newNonce, readStateToken, writeReference } from './state-token.ts'
import { type PendingState, type Ticket, readTicket, writeStep } from './pending-authorization.ts'
import type { ConnectStore } from './store.ts'
import { leftMs, stepMs } from './ticket.ts'

export interface StartParts {
  readonly protocol: Pick<Protocol, 'authorizationUrl'>
  readonly store: ConnectStore
  readonly vault: Pick<Vault, 'seal'>
  readonly cookies: Cookies
  readonly publicUrl: URL
  /** Whether a key is active. Throws DEPENDENCY_UNAVAILABLE if that is unknown now. */
  readonly keyStands: (keyId: string) => boolean
  /** Undefined if it is not configured. */
  readonly provider: (name: string) => Provider | undefined
}

interface TicketLookup {
  readonly reference: StateToken
  readonly ticket: Ticket
  readonly provider: Provider
}

export class Start {
  readonly #parts: StartParts

  constructor(parts: StartParts) {
    this.#parts = parts
  }

  /** What the link is for, in words, and the form to continue. */
  async show(text: string, cookie: string): Promise<PageResponse | PageError> {
    const { cookies } = this.#parts
    const found = await this.#find(text, cookie)
    if (typeof found === 'string') return found
    const { reference, ticket, provider } = found
    const { workspace, actor } = ticket.asker
    // One for all forms: two links in two tabs both work.
    const secret = cookies.formSecret(cookie) ?? newNonce()
    return consentPage({
      workspace,
      actor,
      provider: provider.title,
      permissions: permissionsOf(provider, ticket.scopes),
      action: startPath(text),
      formToken: formToken(secret, reference.hash),
      setCookies: [cookies.bindForm(secret, stepMs)],
    })
  }

  /** Exchanges the ticket for a state, and redirects the browser to the provider with it. */
  async proceed(text: string, shown: string, cookie: string): Promise<PageResponse | PageError> {
    const { cookies, store } = this.#parts
    const found = await this.#find(text, cookie)
    if (typeof found === 'string') return found
    const { reference, ticket, provider } = found
    const secret = cookies.formSecret(cookie)
    if (secret === undefined || !isFormToken(shown, secret, reference.hash)) return 'otherBrowser'
    // If the provider must be discovered first and does not respond, the link stays valid.
    const { url, pending, state } = await this.#prepare(ticket, provider)
    if ((await store.take({ kind: 'ticket', ...reference })) === undefined) return 'ended'
    const browser = newNonce()
    const hash = hashOf(state)
    const { workspace, actor } = ticket.asker
    const content = writeStep({ ...pending, cookieHash: hashOf(browser) })
    await store.put({ kind: 'state', workspace, hash, actor, content, lifetimeMs: leftMs(pending) })
    return forwardPage({ provider: provider.title, url: url.href, setCookies: [cookies.bind(hash, browser, stepMs)] })
  }

  async #find(text: string, cookie: string): Promise<TicketLookup | PageError> {
    const { store, cookies } = this.#parts
    const reference = readStateToken(text)
    if (reference === undefined) return 'malformed'
    const ticket = readTicket((await store.find({ kind: 'ticket', ...reference })) ?? '')
    // What a key began ends with the key.
    if (ticket === undefined || leftMs(ticket) === 0 || !this.#parts.keyStands(ticket.asker.keyId)) return 'ended'
    if (ticket.session !== undefined && !cookies.holdsSession(cookie, ticket.session)) return 'otherBrowser'
    const provider = this.#parts.provider(ticket.provider)
    return provider === undefined ? 'unavailable' : { reference, ticket, provider }
  }

  async #prepare(ticket: Ticket, provider: Provider) {
    const { protocol, vault, publicUrl } = this.#parts
    const { workspace } = ticket.asker
    const [state, verifier, nonce] = [newNonce(), newNonce(), newNonce()]
    const sealed = vault.seal({ workspace, connectionId: hashOf(state), kind: 'verifier' }, verifier)
    const { scopes, reconsent } = ticket
    const asked = { redirectUri: redirectUri(publicUrl, provider), scopes, reconsent }
    const url = await protocol.authorizationUrl(provider, { ...asked, state: writeReference(workspace, state), verifier, nonce })
    const pending: Omit<PendingState, 'cookieHash'> = { ...ticket, verifier: sealed, nonce }
    return { url, pending, state }
  }
}
