/**
 * The authorization servers: those of `emulate`, made as strict as the real ones. In addition to its checks, a redirect URI must match the
 * registered one exactly, PKCE with S256 is required (RFC 9700, 2.1.1), the consent form must send what was requested, and a code is bound
 * to all of that. A refresh token is issued only if requested: by Google at the first consent or with prompt=consent, by Microsoft with
 * offline_access, which then replaces it at every use.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { empty, escapeHtml, html, json, oauthError, type SandboxResponse, type SandboxRequest } from './http.ts'
import { accounts, type Client, type Emulated, type Emulators } from './emulators.ts'
import type { Grant, IssuedTokens } from './tokens.ts'

/** The request of a browser, which a code then represents. */
interface Request {
  provider: Emulated
  redirectUri: string
  scope: string
  state: string
  challenge: string
  /** Whether a refresh token was requested even if one exists. */
  offline: boolean
  isForced: boolean
  askedAt: number
}

interface Code extends Request {
  email: string
}

export interface AuthorizationParts {
  clients: Readonly<Record<Emulated, Client>>
  emulators: Pick<Emulators, 'ask'>
  tokens: IssuedTokens
  accessTtlMs: number
  now?: (() => number) | undefined
}

type Endpoint = (provider: Emulated, asked: SandboxRequest) => Promise<SandboxResponse> | SandboxResponse

const timeoutMs = 600_000
/** Browsers that never consented are forgotten, oldest first. */
const requestsAtMost = 1000
const challengePattern = /^[A-Za-z0-9_-]{43}$/

const same = (a: string, b: string): boolean => {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}
const wordsOf = (scope: string): string[] => scope.split(/\s+/).filter((each) => each !== '')
const refused = (why: string): SandboxResponse =>
  html(400, `<!doctype html><title>Refused</title><h1>Refused</h1><p>${escapeHtml(why)}</p>`)

export class Authorization {
  readonly #parts: AuthorizationParts
  readonly #now: () => number
  readonly #requests = new Map<string, Request>()
  readonly #codes = new Map<string, Code>()
  readonly #endpoints: Readonly<Record<string, readonly [Emulated, Endpoint]>>

  constructor(parts: AuthorizationParts) {
    this.#parts = parts
    this.#now = parts.now ?? Date.now
    const pass: Endpoint = (provider, asked) => parts.emulators.ask(provider, asked)
    const authorize: Endpoint = (provider, asked) => this.#authorize(provider, asked)
    const consent: Endpoint = (provider, asked) => this.#consent(provider, asked)
    const token: Endpoint = (provider, asked) => this.#token(provider, asked)
    const userinfo: Endpoint = (provider, asked) => this.#userinfo(provider, asked)
    this.#endpoints = {
      'GET /.well-known/openid-configuration': ['google', pass],
      'GET /oauth2/v3/certs': ['google', pass],
      'GET /o/oauth2/v2/auth': ['google', authorize],
      'POST /o/oauth2/v2/auth/callback': ['google', consent],
      'POST /oauth2/token': ['google', token],
      'POST /oauth2/revoke': ['google', (_, asked) => this.#revoke(asked)],
      'GET /oauth2/v2/userinfo': ['google', userinfo],
      'GET /discovery/v2.0/keys': ['microsoft', pass],
      'GET /oauth2/v2.0/authorize': ['microsoft', authorize],
      'POST /oauth2/v2.0/authorize/callback': ['microsoft', consent],
      'POST /oauth2/v2.0/token': ['microsoft', token],
      'GET /oidc/userinfo': ['microsoft', userinfo],
    }
  }

  /** The response of an endpoint; undefined if the path is none. */
  answer(asked: SandboxRequest): Promise<SandboxResponse> | SandboxResponse | undefined {
    const path = /^\/[^/]+\/v2\.0\/\.well-known\/openid-configuration$/.test(asked.url.pathname)
    if (path && asked.method === 'GET') return this.#parts.emulators.ask('microsoft', asked)
    const found = this.#endpoints[`${asked.method} ${asked.url.pathname}`]
    return found?.[1](found[0], asked)
  }

  async #authorize(provider: Emulated, asked: SandboxRequest): Promise<SandboxResponse> {
    const query = asked.url.searchParams
    const client = this.#parts.clients[provider]
    const of = (name: string): string => query.get(name) ?? ''
    // Nothing is ever sent to an unknown address, not even an error (RFC 6749, 4.1.2.1).
    if (of('client_id') !== client.id) return refused('There is no such client.')
    if (of('redirect_uri') !== client.redirectUri) return refused('The redirect URI is not the one that is registered.')
    if (of('response_type') !== 'code') return this.#back(client, of('state'), 'unsupported_response_type')
    if (of('code_challenge_method') !== 'S256' || !challengePattern.test(of('code_challenge'))) {
      return this.#back(client, of('state'), 'invalid_request')
    }
    const scope = of('scope')
    this.#requests.set(of('code_challenge'), {
      provider,
      redirectUri: client.redirectUri,
      scope,
      state: of('state'),
      challenge: of('code_challenge'),
      offline: provider === 'google' ? of('access_type') === 'offline' : wordsOf(scope).includes('offline_access'),
      isForced: provider === 'microsoft' || wordsOf(of('prompt')).includes('consent'),
      askedAt: this.#now(),
    })
    if (this.#requests.size > requestsAtMost) this.#requests.delete(this.#requests.keys().next().value!)
    const page = await this.#parts.emulators.ask(provider, asked)
    return page.status === 200 ? { ...page, body: this.#ownAccounts(provider, page.body.toString(), client, of('state')) } : page
  }

  /** emulate's page with only the sandbox's accounts, and a link to deny. */
  #ownAccounts(provider: Emulated, page: string, client: Client, state: string): string {
    const isOwn = (form: string): boolean => accounts[provider].some(({ email }) => form.includes(`value="${email}"`))
    const denial = escapeHtml(this.#back(client, state, 'access_denied').headers.location!)
    let forms = 0
    const own = page.replace(/<form class="user-form"[\s\S]*?<\/form>/g, (form) => (isOwn(form) ? ((forms += 1), form) : ''))
    if (forms !== accounts[provider].length) throw new Error('the consent page of emulate is not as it was')
    return own.replace(/(<form class="user-form"[\s\S]*<\/form>)/, `$1<p><a href="${denial}">Deny</a></p>`)
  }

  #back(client: Client, state: string, error: string): SandboxResponse {
    const url = new URL(client.redirectUri)
    url.searchParams.set('error', error)
    if (state !== '') url.searchParams.set('state', state)
    return { status: 302, headers: { location: url.href }, body: '' }
  }

  async #consent(provider: Emulated, asked: SandboxRequest): Promise<SandboxResponse> {
    const form = new URLSearchParams(asked.body.toString('utf8'))
    const of = (name: string): string => form.get(name) ?? ''
    const request = this.#requests.get(of('code_challenge'))
    const matches =
      request !== undefined &&
      request.provider === provider &&
      request.askedAt + timeoutMs > this.#now() &&
      of('client_id') === this.#parts.clients[provider].id &&
      of('redirect_uri') === request.redirectUri &&
      of('scope') === request.scope &&
      of('state') === request.state &&
      of('code_challenge_method') === 'S256' &&
      (provider === 'google' || of('response_mode') === 'query') &&
      accounts[provider].some(({ email }) => email === of('email'))
    if (!matches) return refused('This is not what was requested. Start again.')
    this.#requests.delete(request.challenge)
    const response = await this.#parts.emulators.ask(provider, asked)
    const code = new URL(response.headers.location ?? 'about:blank').searchParams.get('code')
    if (response.status !== 302 || code === null) return response
    this.#codes.set(code, { ...request, email: of('email'), askedAt: this.#now() })
    return response
  }

  async #token(provider: Emulated, asked: SandboxRequest): Promise<SandboxResponse> {
    const form = new URLSearchParams(asked.body.toString('utf8'))
    const client = this.#parts.clients[provider]
    const [id, secret] = credentials(asked, form)
    if (!same(id, client.id) || !same(secret, client.secret)) return oauthError('invalid_client', 'The client is not known.')
    switch (form.get('grant_type')) {
      case 'authorization_code':
        return this.#exchange(provider, asked, form)
      case 'refresh_token':
        return this.#refresh(provider, form)
      default:
        return oauthError('unsupported_grant_type', 'Only authorization_code and refresh_token are supported.')
    }
  }

  async #exchange(provider: Emulated, asked: SandboxRequest, form: URLSearchParams): Promise<SandboxResponse> {
    const { clients, emulators, tokens, accessTtlMs } = this.#parts
    const code = form.get('code') ?? ''
    const found = this.#codes.get(code)
    // A code is used up, whatever the result.
    this.#codes.delete(code)
    const verifier = form.get('code_verifier') ?? ''
    const challenge = createHash('sha256').update(verifier).digest('base64url')
    const isValid = found?.provider === provider && found.askedAt + timeoutMs > this.#now()
    if (!isValid) return oauthError('invalid_grant', 'The code is not valid.')
    if (form.get('redirect_uri') !== found.redirectUri) return oauthError('invalid_grant', 'The redirect URI is not that of the request.')
    if (!/^[A-Za-z0-9._~-]{43,128}$/.test(verifier) || !same(challenge, found.challenge)) {
      return oauthError('invalid_grant', 'PKCE verification failed.')
    }
    const { id, secret } = clients[provider]
    form.set('client_id', id)
    form.set('client_secret', secret)
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    const response = await emulators.ask(provider, { ...asked, headers, body: Buffer.from(form.toString()) })
    if (response.status !== 200) return response
    const { id_token: idToken } = JSON.parse(response.body.toString()) as { id_token?: string }
    const grant: Grant = { provider, email: found.email, clientId: id, scopes: wordsOf(found.scope) }
    const [access, refresh] = [newToken(provider, 'access'), newToken(provider, 'refresh')]
    const lasting = found.offline && (found.isForced || !tokens.hasConsented(grant))
    tokens.issue(grant, access, accessTtlMs, lasting ? refresh : undefined)
    return this.#issued(grant, access, {
      ...(lasting && { refresh_token: refresh }),
      ...(grant.scopes.includes('openid') && { id_token: idToken }),
    })
  }

  #refresh(provider: Emulated, form: URLSearchParams): SandboxResponse {
    const { clients, tokens, accessTtlMs } = this.#parts
    const old = form.get('refresh_token') ?? ''
    const grant = tokens.refreshable(old, provider, clients[provider].id)
    if (grant === undefined) return oauthError('invalid_grant', 'The refresh token is not valid.')
    const access = newToken(provider, 'access')
    if (provider === 'google') {
      tokens.issue(grant, access, accessTtlMs)
      return this.#issued(grant, access, {})
    }
    const refresh = newToken(provider, 'refresh')
    tokens.issue(grant, access, accessTtlMs, refresh)
    tokens.retire(old)
    return this.#issued(grant, access, { refresh_token: refresh })
  }

  #issued(grant: Grant, access: string, further: object): SandboxResponse {
    const body = {
      access_token: access,
      token_type: 'Bearer',
      expires_in: Math.floor(this.#parts.accessTtlMs / 1000),
      scope: grant.scopes.filter((scope) => scope !== 'offline_access').join(' '),
      ...further,
    }
    return json(200, body, { 'cache-control': 'no-store' })
  }

  /** RFC 7009: an unknown token is gone afterwards as well; only Google reports an error for it. */
  #revoke(asked: SandboxRequest): SandboxResponse {
    const token = new URLSearchParams(asked.body.toString('utf8')).get('token') ?? asked.url.searchParams.get('token') ?? ''
    if (!this.#parts.tokens.isKnown(token)) return oauthError('invalid_token', 'The token is not known.')
    this.#parts.tokens.revoke(token)
    return empty(200)
  }

  #userinfo(provider: Emulated, asked: SandboxRequest): Promise<SandboxResponse> | SandboxResponse {
    const holder = this.#parts.tokens.holder(bearerOf(asked), provider)
    if (holder === undefined) return json(401, { error: 'invalid_token' }, { 'www-authenticate': 'Bearer error="invalid_token"' })
    return this.#parts.emulators.ask(provider, asked, holder.email)
  }
}

/** RFC 6750, 2.1; empty if there is none. */
export function bearerOf({ headers }: Pick<SandboxRequest, 'headers'>): string {
  const value = headers.authorization
  return /^Bearer ([A-Za-z0-9._~+/=-]+)$/i.exec(typeof value === 'string' ? value : '')?.[1] ?? ''
}

/** Client id and secret, by Basic or in the form (RFC 6749, 2.3.1). */
export function credentials({ headers }: SandboxRequest, form: URLSearchParams): [string, string] {
  const basic = /^Basic ([A-Za-z0-9+/=]+)$/.exec(typeof headers.authorization === 'string' ? headers.authorization : '')?.[1]
  if (basic === undefined) return [form.get('client_id') ?? '', form.get('client_secret') ?? '']
  const [id = '', secret = ''] = Buffer.from(basic, 'base64').toString('utf8').split(':').map(decodeForm)
  return [id, secret]
}

function decodeForm(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return ''
  }
}

const newToken = (provider: Emulated, kind: string): string => `sandbox-${provider}-${kind}-${randomBytes(24).toString('base64url')}`
