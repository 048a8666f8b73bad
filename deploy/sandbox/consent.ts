/**
 * The authorization server of a provider whose fake is entirely the sandbox's own (providers/<name>/sandbox.ts): a consent page, codes that
 * are bound to redirect URI and PKCE (S256, RFC 9700, 2.1.1) and valid once, and access tokens that do not expire.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { SandboxFacet } from '#providers/sandbox.ts'
import type { ProviderName } from '#providers/list.ts'
import { credentials } from './authorization.ts'
import type { Client } from './emulators.ts'
import { type SandboxRequest, type SandboxResponse, escapeHtml, html, json } from './http.ts'
import type { IssuedTokens } from './tokens.ts'

interface Request {
  redirectUri: string
  scopes: string[]
  state: string
  challenge: string
  askedAt: number
}

export interface ConsentParts {
  provider: ProviderName
  title: string
  facet: SandboxFacet
  client: Client
  tokens: IssuedTokens
  now?: (() => number) | undefined
}

const timeoutMs = 600_000
/** Browsers that never consented are forgotten, oldest first. */
const maxRequests = 1000
/** Practically for ever. */
const lifetimeMs = 100 * 365 * 86_400_000

const same = (a: string, b: string): boolean => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b))
const refused = (why: string): SandboxResponse =>
  html(400, `<!doctype html><title>Refused</title><h1>Refused</h1><p>${escapeHtml(why)}</p>`)

export class Consent {
  readonly #parts: ConsentParts
  readonly #now: () => number
  readonly #requests = new Map<string, Request>()
  readonly #codes = new Map<string, Request & { email: string }>()

  constructor(parts: ConsentParts) {
    this.#parts = parts
    this.#now = parts.now ?? Date.now
  }

  /** `path` is below the facet's own. Undefined if it is none of these endpoints. */
  answer(request: SandboxRequest, path: string): SandboxResponse | undefined {
    const { authorizePath, tokenPath } = this.#parts.facet
    switch (`${request.method} ${path}`) {
      case `GET ${authorizePath}`:
        return this.#authorize(request.url.searchParams)
      case `POST ${authorizePath}/consent`:
        return this.#consent(new URLSearchParams(request.body.toString('utf8')))
      case `POST ${tokenPath}`:
        return this.#token(request, new URLSearchParams(request.body.toString('utf8')))
      default:
        return undefined
    }
  }

  #authorize(query: URLSearchParams): SandboxResponse {
    const { client, facet, title } = this.#parts
    const of = (name: string): string => query.get(name) ?? ''
    // Nothing is ever sent to an unknown address, not even an error (RFC 6749, 4.1.2.1).
    if (of('client_id') !== client.id) return refused('There is no such client.')
    if (of('redirect_uri') !== client.redirectUri) return refused('The redirect URI is not the one that is registered.')
    const challenge = of('code_challenge')
    if (of('response_type') !== 'code' || of('code_challenge_method') !== 'S256' || !/^[A-Za-z0-9_-]{43}$/.test(challenge)) {
      return this.#back(of('state'), { error: 'invalid_request' })
    }
    const scopes = of('scope')
      .split(/[ ,]/)
      .filter((each) => each !== '')
    this.#requests.set(challenge, { redirectUri: client.redirectUri, scopes, state: of('state'), challenge, askedAt: this.#now() })
    if (this.#requests.size > maxRequests) this.#requests.delete(this.#requests.keys().next().value!)
    const action = escapeHtml(`${facet.path}${facet.authorizePath}/consent`)
    const forms = facet.accounts.map(({ email, name }) => {
      const fields = [
        ['email', email],
        ['code_challenge', challenge],
      ].map(([field, value]) => `<input type="hidden" name="${field}" value="${escapeHtml(value!)}">`)
      return `<form method="post" action="${action}">${fields.join('')}<button>Continue as ${escapeHtml(name)} (${escapeHtml(email)})</button></form>`
    })
    const denial = escapeHtml(this.#back(of('state'), { error: 'access_denied' }).headers.location!)
    const wanted = scopes.map((scope) => `<li>${escapeHtml(scope)}</li>`).join('')
    const page = `<h1>${escapeHtml(title)} (sandbox)</h1><p>Relay asks for:</p><ul>${wanted}</ul>${forms.join('')}<p><a href="${denial}">Deny</a></p>`
    return html(
      200,
      `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${escapeHtml(title)}</title></head><body>${page}</body></html>`,
    )
  }

  #back(state: string, answer: Record<string, string>): SandboxResponse {
    const url = new URL(this.#parts.client.redirectUri)
    for (const [name, value] of Object.entries(answer)) url.searchParams.set(name, value)
    if (state !== '') url.searchParams.set('state', state)
    return { status: 302, headers: { location: url.href }, body: '' }
  }

  #consent(form: URLSearchParams): SandboxResponse {
    const request = this.#requests.get(form.get('code_challenge') ?? '')
    const email = form.get('email') ?? ''
    const matches = request !== undefined && request.askedAt + timeoutMs > this.#now()
    if (!matches || !this.#parts.facet.accounts.some((each) => each.email === email))
      return refused('This is not what was asked for. Begin again.')
    this.#requests.delete(request.challenge)
    const code = randomBytes(24).toString('base64url')
    this.#codes.set(code, { ...request, email, askedAt: this.#now() })
    return this.#back(request.state, { code })
  }

  #token(request: SandboxRequest, form: URLSearchParams): SandboxResponse {
    const { provider, client, facet, tokens } = this.#parts
    const [id, secret] = credentials(request, form)
    if (!same(id, client.id) || !same(secret, client.secret)) return facet.tokenError('invalid_client')
    if (form.get('grant_type') !== 'authorization_code') return facet.tokenError('unsupported_grant_type')
    const code = form.get('code') ?? ''
    const found = this.#codes.get(code)
    // A code is used up, whatever the result.
    this.#codes.delete(code)
    const verifier = form.get('code_verifier') ?? ''
    const challenge = createHash('sha256').update(verifier).digest('base64url')
    const isValid = found !== undefined && found.askedAt + timeoutMs > this.#now() && form.get('redirect_uri') === found.redirectUri
    if (!isValid || !/^[A-Za-z0-9._~-]{43,128}$/.test(verifier) || !same(challenge, found.challenge))
      return facet.tokenError('invalid_grant')
    const accessToken = `sandbox-${provider}-access-${randomBytes(24).toString('base64url')}`
    tokens.issue({ provider, email: found.email, clientId: id, scopes: found.scopes }, accessToken, lifetimeMs)
    return json(200, facet.tokenResponse({ accessToken, scopes: found.scopes, email: found.email }), { 'cache-control': 'no-store' })
  }
}
