/**
 * OAuth 2.0 and OpenID Connect with a provider, by oauth4webapi: authorization code with PKCE (RFC 6749, 7636), the issuer in the answer
 * (RFC 9207), id_tokens, refresh, revocation (RFC 7009). All that goes out is bounded in time and size, follows no redirect and reaches
 * nothing but the provider's own endpoints. What fails throws ProviderError, which holds nothing of what the provider wrote.
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
  /** For the id_token; sent where OpenID is spoken. */
  nonce: string
  scopes: readonly string[]
  /** Whether who consented before is to consent again. */
  reconsent: boolean
}

export interface CodeParts {
  code: string
  /** As the callback had it; empty where it had none. */
  iss: string
  redirectUri: string
  verifier: string
  nonce: string
  /** What was asked for. */
  scopes: readonly string[]
}

/** What a token endpoint granted. */
export interface TokenGrant {
  readonly accessToken: string
  readonly expiresInMs: number
  /** Absent where the provider gave none: the one that there is stays good. */
  readonly refreshToken: string | undefined
  /** Absent where it did not say: those that were asked for (RFC 6749, 5.1). */
  readonly scopes: readonly string[] | undefined
}

export interface AccountGrant extends TokenGrant {
  readonly scopes: readonly string[]
  /** The account's address, or what else it is known by. */
  readonly account: string
  /** What the provider itself knows the account by; undefined where it does not say. */
  readonly issuer: string | undefined
  readonly subject: string | undefined
}

export interface Protocol {
  /** Where a browser goes to consent. */
  authorizationUrl(provider: Provider, parts: AuthorizationParts): Promise<URL>
  /** Tokens for a code, and whose they are. `foreign`: the answer is not from this provider. */
  exchangeCode(provider: Provider, parts: CodeParts): Promise<AccountGrant>
  refresh(provider: Provider, refreshToken: string): Promise<TokenGrant>
  /** Whether the provider confirmed that it forgot the token and what was made from it. False where it cannot be told to. */
  revoke(provider: Provider, token: string, kind: 'access' | 'refresh'): Promise<boolean>
}

export interface ProtocolParts {
  /** How long one request to a provider may take, in milliseconds. */
  requestMs: number
}

/** Of providers that do not say how long a token lives, and of those whose tokens do not expire; no other is believed for longer than a day. */
const lifetimeMs = { unsaid: 3_600_000, max: 24 * 3_600_000, ever: 100 * 365 * 24 * 3_600_000 }
/** How long a discovery document is believed. */
const discoveredMs = 3_600_000

type Server = oauth.AuthorizationServer

export function oauthProtocol({ requestMs }: ProtocolParts): Protocol {
  const discovered = new Map<string, { server: Promise<Server>; until: number }>()
  const keys = new Map<string, oauth.JWKSCacheInput>()
  const connections = new ProviderConnections()

  /** Options of every request: to these endpoints alone. */
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
    // One that failed is asked again by the next; until then all wait for one answer.
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

  /** Whose account it is, where the provider says it in its own way. */
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
      // Where the server says that it names itself, an answer without that is not its own.
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
      // Without an expiry, and nothing to replace it with, it is good until the provider refuses it.
      const unsaidMs = tokens.refresh_token === undefined ? lifetimeMs.ever : lifetimeMs.unsaid
      const granted = toGrant(provider, tokens, unsaidMs)
      return { ...granted, scopes: granted.scopes ?? [...scopes], ...account }
    }),

    refresh: guarded(async (provider, refreshToken) => {
      const server = await serverOf(provider)
      const client = clientOf(provider)
      // Longer than anybody waits for it: what a refresh token is exchanged for cannot be had again.
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

/** Whatever it throws is a ProviderError. */
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

/** The JSON object of a response; undefined where it is something else. */
async function objectIn(response: Response): Promise<JsonObject | undefined> {
  const body: unknown = await response.json()
  return typeof body === 'object' && body !== null && !Array.isArray(body) ? (body as JsonObject) : undefined
}

/** A token response as the standard has it, of a provider that writes it otherwise. */
async function standard({ readTokenResponse }: Provider, response: Response): Promise<Response> {
  if (readTokenResponse === undefined || !response.ok) return response
  const body = await objectIn(response)
  if (body === undefined) throw ownError('unreadable')
  const read = readTokenResponse(body)
  return new Response(JSON.stringify(read.body), { status: read.status, headers: { 'content-type': 'application/json' } })
}

/** Clocks differ: half a minute either way is no forgery. */
const clientOf = ({ clientId }: Provider): oauth.Client => ({ client_id: clientId, [oauth.clockTolerance]: 30 })

function authOf({ clientAuth, clientSecret }: Provider): oauth.ClientAuth {
  if (clientAuth === 'none') return oauth.None()
  return clientAuth === 'client_secret_basic' ? oauth.ClientSecretBasic(clientSecret()) : oauth.ClientSecretPost(clientSecret())
}

/**
 * A server that speaks for many tenants names the account's own in its id_token: that one is expected, if it is one of the provider's. All
 * else of the id_token is checked afterwards.
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
  // RFC 6750; a token of another type is of no use to the adapters.
  if (tokens.token_type !== 'bearer') throw ownError('unreadable')
  const { access_token: accessToken, expires_in: seconds, refresh_token: refreshToken, scope } = tokens
  const expiresInMs = seconds === undefined ? unsaidMs : Math.min(seconds * 1000, lifetimeMs.max)
  return { accessToken, expiresInMs, refreshToken, scopes: scope === undefined ? undefined : readScopes(provider, scope) }
}

/** At most as long as an address may be (RFC 5321, 4.5.3.1.3), and nothing that a terminal would act on. */
const isPlain = (value: unknown): value is string => typeof value === 'string' && /^[^\p{Cc}\p{Cf}]{1,320}$/u.test(value)

const accountName = (claims: Readonly<Record<string, unknown>> | undefined): string | undefined =>
  [claims?.email, claims?.preferred_username].find(isPlain)

type Account = Pick<AccountGrant, 'account' | 'issuer' | 'subject'>

function accountBy(claims: { readonly sub: string } | undefined, issuer: string | undefined, name: string | undefined): Account {
  if (claims === undefined) return { account: name ?? 'unknown', issuer: undefined, subject: undefined }
  if (!isPlain(claims.sub)) throw ownError('unreadable')
  return { account: name ?? claims.sub, issuer, subject: claims.sub }
}
