/**
 * A strict authorization server on loopback: one client, codes that work once and only with their redirect URI and verifier, id_tokens
 * signed by RS256, revocation. It keeps what it was sent, and can be told to misbehave.
 */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SignJWT, exportJWK, generateKeyPair } from 'jose'
import type { Provider } from '../../../services/oauth/providers/provider.ts'

export const client = { id: 'the-client', secret: 'the secret of the client' }

export interface Grant {
  account?: string
  /** What is granted; what was asked for when unset. */
  scopes?: string
  refreshToken?: string | null
  /** Laid over the id_token's claims. */
  claims?: Record<string, unknown>
  /** Laid over the token answer; undefined leaves out. */
  answer?: Record<string, unknown>
}

export interface AuthorizationServer {
  readonly url: string
  /** Bodies of the token endpoint, in order. */
  readonly tokenRequests: URLSearchParams[]
  readonly revoked: string[]
  /** Every token that it gave. */
  readonly issued: string[]
  /** Every request, as `METHOD path`. */
  readonly seen: string[]
  /** What a person who consents brings back: the query of the callback. */
  consent(location: string, grant?: Grant): { state: string; code: string; iss: string }
  /** Answers the next requests to this path instead. */
  next(path: string, ...responses: ((response: ServerResponse) => void)[]): void
  provider(over?: Partial<Provider>): Provider
  close(): Promise<void>
}

interface Issued extends Grant {
  redirectUri: string
  challenge: string
  nonce: string | null
  asked: string
}

export const json =
  (status: number, body: unknown, headers: Record<string, string> = {}) =>
  (response: ServerResponse) =>
    void response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))

const header = { alg: 'RS256', kid: 'one' }
const keys = generateKeyPair('RS256', { extractable: true })

export async function startAuthorizationServer(): Promise<AuthorizationServer> {
  const codes = new Map<string, Issued>()
  const instead = new Map<string, ((response: ServerResponse) => void)[]>()
  const refreshTokens = new Map<string, Grant & { asked: string }>()
  const tokenRequests: URLSearchParams[] = []
  const [revoked, issued, seen]: [string[], string[], string[]] = [[], [], []]
  let url = ''

  async function granted(grant: Grant & { asked: string; nonce?: string | null }) {
    const { account = 'ann@example.com', scopes, asked, nonce, claims, answer } = grant
    const { privateKey } = await keys
    const now = Math.floor(Date.now() / 1000)
    const payload = { iss: url, aud: client.id, sub: `sub-of-${account}`, email: account, iat: now, exp: now + 300, ...claims }
    const idToken = await new SignJWT({ ...payload, ...(nonce && { nonce }) }).setProtectedHeader(header).sign(privateKey)
    const refreshToken = grant.refreshToken === undefined ? `refresh-${randomBytes(16).toString('hex')}` : grant.refreshToken
    if (refreshToken !== null) refreshTokens.set(refreshToken, grant)
    const accessToken = `access-${randomBytes(16).toString('hex')}`
    issued.push(accessToken, idToken, ...(refreshToken === null ? [] : [refreshToken]))
    return {
      access_token: accessToken,
      token_type: 'Bearer',
      expires_in: 3600,
      scope: scopes ?? asked,
      id_token: idToken,
      ...(refreshToken !== null && { refresh_token: refreshToken }),
      ...answer,
    }
  }

  async function token(body: URLSearchParams, response: ServerResponse): Promise<void> {
    tokenRequests.push(body)
    if (body.get('client_id') !== client.id || body.get('client_secret') !== client.secret) {
      return json(401, { error: 'invalid_client', error_description: 'a text of the provider' })(response)
    }
    const refused = json(400, { error: 'invalid_grant', error_description: 'a text of the provider' })
    if (body.get('grant_type') === 'refresh_token') {
      const grant = refreshTokens.get(body.get('refresh_token') ?? '')
      refreshTokens.delete(body.get('refresh_token') ?? '')
      return (grant === undefined ? refused : json(200, await granted({ ...grant, refreshToken: undefined })))(response)
    }
    const code = codes.get(body.get('code') ?? '')
    codes.delete(body.get('code') ?? '')
    const challenge = createHash('sha256')
      .update(body.get('code_verifier') ?? '')
      .digest('base64url')
    if (code === undefined || code.redirectUri !== body.get('redirect_uri') || code.challenge !== challenge) return refused(response)
    json(200, await granted(code))(response)
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url!, url)
    seen.push(`${request.method} ${pathname}`)
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const body = new URLSearchParams(Buffer.concat(chunks).toString())
    const other = instead.get(pathname)?.shift()
    if (other !== undefined) return other(response)
    if (pathname === '/token') return token(body, response)
    if (pathname === '/jwks') {
      const jwk = await exportJWK((await keys).publicKey)
      return json(200, { keys: [{ ...jwk, kid: 'one', use: 'sig', alg: 'RS256' }] })(response)
    }
    if (pathname === '/userinfo') return json(200, { sub: 'sub-of-ann@example.com', email: 'from-userinfo@example.com' })(response)
    if (pathname === '/revoke') {
      revoked.push(`${body.get('token_type_hint')} ${body.get('token')}`)
      return json(200, {})(response)
    }
    if (pathname === '/.well-known/openid-configuration') {
      return json(200, {
        issuer: url,
        authorization_endpoint: `${url}/authorize`,
        token_endpoint: `${url}/token`,
        jwks_uri: `${url}/jwks`,
        revocation_endpoint: `${url}/revoke`,
        authorization_response_iss_parameter_supported: true,
      })(response)
    }
    json(404, {})(response)
  }

  const server: Server = createServer((request, response) => void handle(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const at = (path: string) => new URL(path, url)

  return {
    url,
    tokenRequests,
    revoked,
    issued,
    seen,
    consent(location, grant = {}) {
      const { searchParams: asked } = new URL(location)
      const challenge = asked.get('code_challenge') ?? ''
      const strict = asked.get('response_type') === 'code' && asked.get('code_challenge_method') === 'S256' && challenge.length === 43
      if (!strict || asked.get('client_id') !== client.id) throw new Error('the authorization request is not one')
      const code = randomBytes(16).toString('hex')
      const [redirectUri, scope] = [asked.get('redirect_uri') ?? '', asked.get('scope') ?? '']
      codes.set(code, { ...grant, redirectUri, challenge, nonce: asked.get('nonce'), asked: scope })
      return { state: asked.get('state') ?? '', code, iss: url }
    },
    next: (path, ...responses) => void instead.set(path, responses),
    provider: (over = {}) => ({
      name: 'example',
      title: 'Example',
      issuer: url,
      endpoints: {
        authorization: at('/authorize'),
        token: at('/token'),
        revocation: at('/revoke'),
        userinfo: at('/userinfo'),
        jwks: at('/jwks'),
      },
      clientId: client.id,
      clientSecret: () => client.secret,
      clientAuth: 'client_secret_post',
      scopes: ['openid', 'email', 'offline_access', 'mail'],
      permissions: { mail: 'Send <mail> as you' },
      parameters: {},
      reconsent: { prompt: 'consent' },
      revocationEnds: 'account',
      scopePrefix: '',
      allowHttp: true,
      ...over,
    }),
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
