/**
 * OAuth 2.0 and OpenID Connect with a provider, by oauth4webapi: authorization code with PKCE (RFC 6749, 7636), the issuer in the response
 * (RFC 9207), id_tokens, refresh, revocation (RFC 7009). Requests are limited in time and size, follow no redirect, and go only to the
 * provider's own endpoints. Failures throw ProviderError, which contains nothing that the provider wrote.
 */
import * as oauth from 'oauth4webapi'
import type { JsonObject } from '#providers/oauth.ts'
import { type Provider, isIssuer, isUsable, readScopes, speaksOpenId } from './provider.ts'
import { ProviderError, ownError, providerError } from './provider-error.ts'
import { ProviderConnections, boundedFetch } from './provider-fetch.ts'

export interface AuthorizationParts {
  redirectUri: string
  state: string
  verifier: string
  /** For the id_token; sent if OpenID is used. */
  nonce: string
  scopes: readonly string[]
  /** Whether a person who consented before must consent again. */
  reconsent: boolean
}

export interface CodeParts {
  code: string
  /** As in the callback; empty if it had none. */
  iss: string
  redirectUri: string
  verifier: string
  nonce: string
  /** The requested scopes. */
  scopes: readonly string[]
}

/** The grant of a token endpoint. */
export interface TokenGrant {
  readonly accessToken: string
  readonly expiresInMs: number
  /** Absent if the provider granted none: the existing one stays valid. */
  readonly refreshToken: string | undefined
  /** Absent if it did not report any: then those that were requested (RFC 6749, 5.1). */
  readonly scopes: readonly string[] | undefined
}

export interface AccountGrant extends TokenGrant {
  readonly scopes: readonly string[]
  /** The account's address, or another name. */
  readonly account: string
  /** The provider's own identifier of the account; undefined if it reports none. */
  readonly issuer: string | undefined
  readonly subject: string | undefined
}

export interface Protocol {
  /** The URL where a browser consents. */
  authorizationUrl(provider: Provider, parts: AuthorizationParts): Promise<URL>
  /** Exchanges a code for tokens, and identifies the account. `foreign`: the response is not from this provider. */
  exchangeCode(provider: Provider, parts: CodeParts): Promise<AccountGrant>
  refresh(provider: Provider, refreshToken: string): Promise<TokenGrant>
  /** Whether the provider confirmed the revocation of the token and what derives from it. False if it does not support that. */
  revoke(provider: Provider, token: string, kind: 'access' | 'refresh'): Promise<boolean>
}

export interface ProtocolParts {
  /** The timeout of one request to a provider, in milliseconds. */
  requestMs: number
}

/** For providers that report no lifetime, and those whose tokens do not expire; no other token counts as valid for longer than a day. */
const lifetimeMs = { unsaid: 3_600_000, max: 24 * 3_600_000, ever: 100 * 365 * 24 * 3_600_000 }
/** How long a discovery document is cached. */
const discoveredMs = 3_600_000

type Server = oauth.AuthorizationServer

export function oauthProtocol({ requestMs }: ProtocolParts): Protocol {
  const discovered = new Map<string, { server: Promise<Server>; until: number }>()
  const keys = new Map<string, oauth.JWKSCacheInput>()
  const connections = new ProviderConnections()

  /** Options of every request: to these endpoints only. */
  const going = ({ name, allowHttp }: Provider, endpoints: readonly (string | undefined)[], timeoutMs = requestMs) => ({
    [oauth.customFetch]: boundedFetch({
      provider: name,
      allowHttp,
      endpoints: endpoints.filter((url) => url !== undefined),
      requestMs: timeoutMs,
      connections,
    }),
    [oauth.allowInsecureRequests]: allowHttp,
  })
  const goingTo = (provider: Provider, server: Server, timeoutMs?: number) =>
    going(provider, [server.token_endpoint, server.revocation_endpoint, server.userinfo_endpoint, server.jwks_uri], timeoutMs)

  async function serverOf(provider: Provider): Promise<Server> {
    if (provider.endpoints !== undefined) return configured(provider)
    const known = discovered.get(provider.issuer)
    if (known !== undefined && known.until > performance.now()) return known.server
    const server = discover(provider)
    const entry = { server, until: performance.now() + discoveredMs }
    discovered.set(provider.issuer, entry)
    // After a failure the next call tries again; until then all wait for one response.
    server.catch(() => discovered.get(provider.issuer) === entry && discovered.delete(provider.issuer))
    return server
  }

  async function discover(provider: Provider): Promise<Server> {
    const issuer = new URL(provider.issuer)
    const document = `${issuer.href.replace(/\/$/, '')}/.well-known/openid-configuration`
    const response = await oauth.discoveryRequest(issuer, { algorithm: 'oidc', ...going(provider, [document]) })
    const server = await oauth.processDiscoveryResponse(issuer, response)
    for (const url of [server.authorization_endpoint, server.token_endpoint]) {
      if (url === undefined || !URL.canParse(url) || !isUsable(new URL(url), provider.allowHttp)) throw ownError('unreadable')
    }
    return server
  }

  async function accountOf(provider: Provider, server: Server, accessToken: string, claims: oauth.IDToken | undefined): Promise<Account> {
    if (provider.readAccount !== undefined) return accountRead(provider, server, accessToken)
    const named = accountName(claims)
    if (named !== undefined || server.userinfo_endpoint === undefined) return accountBy(claims, claims?.iss, named)
    const response = await oauth.userInfoRequest(server, clientOf(provider), accessToken, goingTo(provider, server))
    const info = await oauth.processUserInfoResponse(server, clientOf(provider), claims?.sub ?? oauth.skipSubjectCheck, response)
    return accountBy(info, claims?.iss ?? server.issuer, accountName(info))
  }

  /** The account, if the provider reports it in its own way. */
  async function accountRead(provider: Provider, server: Server, accessToken: string): Promise<Account> {
    const { [oauth.customFetch]: fetch } = goingTo(provider, server)
    const headers = { accept: 'application/json', authorization: `Bearer ${accessToken}`, 'user-agent': 'Relay' }
    const response = await fetch(server.userinfo_endpoint!, { method: 'GET', headers, body: null })
    const body = response.ok ? await objectIn(response) : undefined
    const read = body && provider.readAccount!(body)
    if (read === undefined || !isPlain(read.account) || !isPlain(read.subject)) throw ownError('unreadable')
    return { account: read.account, issuer: provider.issuer, subject: read.subject }
  }

  return {
    authorizationUrl: guarded(async (provider, { redirectUri, state, verifier, nonce, scopes, reconsent }) => {
      const url = new URL((await serverOf(provider)).authorization_endpoint!)
      const parameters: Record<string, string> = {
        ...provider.parameters,
        ...(reconsent ? provider.reconsent : {}),
        response_type: 'code',
        client_id: provider.clientId,
        redirect_uri: redirectUri,
        scope: scopes.join(provider.scopeSeparator ?? ' '),
        state,
        code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
        ...(speaksOpenId(scopes) ? { nonce } : {}),
      }
      for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
      return url
    }),

    exchangeCode: guarded(async (provider, { code, iss, redirectUri, verifier, nonce, scopes }) => {
      const found = await serverOf(provider)
      if (iss !== '' && !isIssuer(provider, iss)) throw ownError('foreign')
      // If the server declares that it names itself, a response without that is not its own.
      if (iss === '' && found.authorization_response_iss_parameter_supported === true) throw ownError('foreign')
      const server = iss === '' ? found : { ...found, issuer: iss }
      const client = clientOf(provider)
      const answered = new URLSearchParams({ code, ...(iss === '' ? {} : { iss }) })
      // The state was looked up and consumed before: this only reads the rest.
      const callback = oauth.validateAuthResponse({ ...server, authorization_response_iss_parameter_supported: false }, client, answered)
      const options = goingTo(provider, server)
      const sent = await oauth.authorizationCodeGrantRequest(server, client, authOf(provider), callback, redirectUri, verifier, options)
      const response = await standard(provider, sent)
      const openid = speaksOpenId(scopes)
      const issued = await ofTenant(provider, server, response)
      const expectations = openid ? { expectedNonce: nonce, requireIdToken: true } : {}
      const tokens = await oauth.processAuthorizationCodeResponse(issued, client, response, expectations)
      const claims = oauth.getValidatedIdTokenClaims(tokens)
      if (claims !== undefined && issued.jwks_uri !== undefined) {
        const cache = keys.get(issued.jwks_uri) ?? {}
        keys.set(issued.jwks_uri, cache)
        await oauth.validateApplicationLevelSignature(issued, response, { ...options, [oauth.jwksCache]: cache })
      }
      const account = await accountOf(provider, issued, tokens.access_token, claims)
      // Without an expiry, and without a replacement, it is valid until the provider rejects it.
      const unsaidMs = tokens.refresh_token === undefined ? lifetimeMs.ever : lifetimeMs.unsaid
      const granted = toGrant(provider, tokens, unsaidMs)
      return { ...granted, scopes: granted.scopes ?? [...scopes], ...account }
    }),

    refresh: guarded(async (provider, refreshToken) => {
      const server = await serverOf(provider)
      const client = clientOf(provider)
      // Longer than any caller waits: what a refresh token is exchanged for cannot be requested again.
      const options = goingTo(provider, server, 2 * requestMs)
      const response = await standard(
        provider,
        await oauth.refreshTokenGrantRequest(server, client, authOf(provider), refreshToken, options),
      )
      const issued = await ofTenant(provider, server, response)
      return toGrant(provider, await oauth.processRefreshTokenResponse(issued, client, response))
    }),

    revoke: guarded(async (provider, token, kind) => {
      const server = await serverOf(provider)
      if (server.revocation_endpoint === undefined) return false
      const additionalParameters = { token_type_hint: `${kind}_token` }
      const options = { ...goingTo(provider, server), additionalParameters }
      await oauth.processRevocationResponse(await oauth.revocationRequest(server, clientOf(provider), authOf(provider), token, options))
      return true
    }),
  }
}

/** It throws only ProviderError. */
const guarded =
  <Args extends unknown[], Result>(work: (...args: Args) => Promise<Result>) =>
  async (...args: Args): Promise<Result> => {
    try {
      return await work(...args)
    } catch (error) {
      throw error instanceof ProviderError ? error : providerError(error)
    }
  }

function configured({ issuer, endpoints }: Provider): Server {
  const { authorization, token, revocation, userinfo, jwks } = endpoints!
  return {
    issuer,
    authorization_endpoint: authorization.href,
    token_endpoint: token.href,
    ...(revocation && { revocation_endpoint: revocation.href }),
    ...(userinfo && { userinfo_endpoint: userinfo.href }),
    ...(jwks && { jwks_uri: jwks.href }),
  }
}

/** The JSON object of a response; undefined if it is anything else. */
async function objectIn(response: Response): Promise<JsonObject | undefined> {
  const body: unknown = await response.json()
  return typeof body === 'object' && body !== null && !Array.isArray(body) ? (body as JsonObject) : undefined
}

/** A standard token response, for a provider with its own format. */
async function standard({ readTokenResponse }: Provider, response: Response): Promise<Response> {
  if (readTokenResponse === undefined || !response.ok) return response
  const body = await objectIn(response)
  if (body === undefined) throw ownError('unreadable')
  const read = readTokenResponse(body)
  return new Response(JSON.stringify(read.body), { status: read.status, headers: { 'content-type': 'application/json' } })
}

/** Clocks differ: half a minute either way is not a forgery. */
const clientOf = ({ clientId }: Provider): oauth.Client => ({ client_id: clientId, [oauth.clockTolerance]: 30 })

function authOf({ clientAuth, clientSecret }: Provider): oauth.ClientAuth {
  if (clientAuth === 'none') return oauth.None()
  return clientAuth === 'client_secret_basic' ? oauth.ClientSecretBasic(clientSecret()) : oauth.ClientSecretPost(clientSecret())
}

/**
 * A server for many tenants names the account's tenant in its id_token: that issuer is expected, if it is one of the provider's. The rest
 * of the id_token is checked afterwards.
 */
async function ofTenant(provider: Provider, server: Server, response: Response): Promise<Server> {
  if (!response.ok || !server.issuer.includes('{')) return server
  const body: unknown = await response.clone().json()
  const idToken = typeof body === 'object' && body !== null && 'id_token' in body ? body.id_token : undefined
  if (typeof idToken !== 'string') return server
  const payload: unknown = JSON.parse(Buffer.from(idToken.split('.')[1] ?? '', 'base64url').toString())
  const iss = typeof payload === 'object' && payload !== null && 'iss' in payload ? payload.iss : undefined
  return typeof iss === 'string' && isIssuer(provider, iss) ? { ...server, issuer: iss } : server
}

function toGrant(provider: Provider, tokens: oauth.TokenEndpointResponse, unsaidMs = lifetimeMs.unsaid): TokenGrant {
  // RFC 6750; adapters cannot use a token of another type.
  if (tokens.token_type !== 'bearer') throw ownError('unreadable')
  const { access_token: accessToken, expires_in: seconds, refresh_token: refreshToken, scope } = tokens
  const expiresInMs = seconds === undefined ? unsaidMs : Math.min(seconds * 1000, lifetimeMs.max)
  return { accessToken, expiresInMs, refreshToken, scopes: scope === undefined ? undefined : readScopes(provider, scope) }
}

/** At most as long as an address (RFC 5321, 4.5.3.1.3), and without control characters. */
const isPlain = (value: unknown): value is string => typeof value === 'string' && /^[^\p{Cc}\p{Cf}]{1,320}$/u.test(value)

const accountName = (claims: Readonly<Record<string, unknown>> | undefined): string | undefined =>
  [claims?.email, claims?.preferred_username].find(isPlain)

type Account = Pick<AccountGrant, 'account' | 'issuer' | 'subject'>

function accountBy(claims: { readonly sub: string } | undefined, issuer: string | undefined, name: string | undefined): Account {
  if (claims === undefined) return { account: name ?? 'unknown', issuer: undefined, subject: undefined }
  if (!isPlain(claims.sub)) throw ownError('unreadable')
  return { account: name ?? claims.sub, issuer, subject: claims.sub }
}
