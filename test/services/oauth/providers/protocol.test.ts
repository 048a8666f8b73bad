import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ProviderError } from '../../../../services/oauth/providers/provider-error.ts'
import type { Provider } from '../../../../services/oauth/providers/provider.ts'
import { type Protocol, oauthProtocol } from '../../../../services/oauth/providers/protocol.ts'
import { type AuthorizationServer, type Grant, json, startAuthorizationServer } from '../authorization-server.ts'

let server: AuthorizationServer
let protocol: Protocol
beforeAll(async () => {
  server = await startAuthorizationServer()
  protocol = oauthProtocol({ requestMs: 1000 })
})
afterAll(() => server.close())

const redirectUri = 'https://relay.example.com/oauth/example/callback'
const random = () => randomBytes(32).toString('base64url')
const failing = (failure: object) =>
  expect.objectContaining({ name: 'ProviderError', failure: expect.objectContaining(failure) as object }) as Error

/** An authorization up to the code; what is exchanged may then be something else. */
async function consented(grant: Grant = {}, provider: Provider = server.provider()) {
  const { scopes } = provider
  const [verifier, nonce] = [random(), random()]
  const url = await protocol.authorizationUrl(provider, { redirectUri, state: 'a.b', verifier, nonce, scopes, reconsent: false })
  const { code, iss } = server.consent(url.href, grant)
  return { code, iss, redirectUri, verifier, nonce, scopes }
}

describe('the authorization request', () => {
  test('has PKCE by S256, the state, a nonce for OpenID, and what the provider needs; asking again only where it must', async () => {
    const provider = server.provider({ parameters: { access_type: 'offline' } })
    const parts = { redirectUri, state: 'the.state', verifier: 'v'.repeat(43), nonce: 'n', scopes: ['openid', 'mail'], reconsent: false }
    const { searchParams } = await protocol.authorizationUrl(provider, parts)
    expect(Object.fromEntries(searchParams)).toEqual({
      access_type: 'offline',
      response_type: 'code',
      client_id: 'the-client',
      redirect_uri: redirectUri,
      scope: 'openid mail',
      state: 'the.state',
      // printf vvvv… | openssl dgst -sha256 -binary | basenc --base64url
      code_challenge: '7w_YNF9DSfIdPf_pRjSq646_kPr-2-o9NAl16JGghdM',
      code_challenge_method: 'S256',
      nonce: 'n',
    })
    const again = await protocol.authorizationUrl(provider, { ...parts, scopes: ['mail'], reconsent: true })
    expect(again.searchParams.get('prompt')).toBe('consent')
    expect(again.searchParams.has('nonce')).toBe(false)
  })

  test('goes where the discovery document says, which is asked for once', async () => {
    const discovered = server.provider({ endpoints: undefined, name: 'discovered' })
    const parts = await consented({}, discovered)
    expect(await protocol.exchangeCode(discovered, parts)).toMatchObject({ account: 'ann@example.com' })
    expect(server.seen.filter((line) => line.includes('well-known'))).toHaveLength(1)
    // This server says that it names itself in its answers: one that does not is another's.
    const nameless = { ...(await consented({}, discovered)), iss: '' }
    await expect(protocol.exchangeCode(discovered, nameless)).rejects.toThrow(failing({ kind: 'foreign' }))
  })

  test('a discovery that failed is tried again', async () => {
    const fresh = oauthProtocol({ requestMs: 1000 })
    server.next('/.well-known/openid-configuration', json(503, {}))
    const parts = { redirectUri, state: 's', verifier: random(), nonce: 'n', scopes: ['openid'], reconsent: false }
    const discovered = server.provider({ endpoints: undefined })
    await expect(fresh.authorizationUrl(discovered, parts)).rejects.toThrow(failing({ kind: 'busy', status: 503 }))
    expect((await fresh.authorizationUrl(discovered, parts)).pathname).toBe('/authorize')
  })
})

describe('the exchange of a code', () => {
  test('brings tokens, what was granted and whose it is', async () => {
    const connected = await protocol.exchangeCode(server.provider(), await consented({ scopes: 'openid mail', refreshToken: 'kept' }))
    expect(connected).toMatchObject({ refreshToken: 'kept', expiresInMs: 3_600_000 })
    expect(connected).toMatchObject({ scopes: ['openid', 'mail'], account: 'ann@example.com' })
    expect(connected.accessToken).toMatch(/^access-/)
  })

  test('without a scope in the answer all that was asked for is granted', async () => {
    const connected = await protocol.exchangeCode(server.provider(), await consented({ answer: { scope: undefined } }))
    expect(connected.scopes).toEqual(server.provider().scopes)
  })

  test('asks userinfo whose account it is where the id_token does not say, for the same person', async () => {
    const connected = await protocol.exchangeCode(server.provider(), await consented({ claims: { email: undefined } }))
    expect(connected.account).toBe('from-userinfo@example.com')
    const another = await consented({ claims: { email: undefined, sub: 'somebody-else' } })
    await expect(protocol.exchangeCode(server.provider(), another)).rejects.toThrow(failing({ kind: 'unreadable' }))
  })

  test('an issuer that is not the provider’s ends it before anything is sent', async () => {
    const before = server.tokenRequests.length
    for (const iss of ['https://evil.example.com', `${server.url}/`, server.url.toUpperCase()]) {
      await expect(protocol.exchangeCode(server.provider(), { ...(await consented()), iss })).rejects.toThrow(failing({ kind: 'foreign' }))
    }
    expect(server.tokenRequests.length).toBe(before)
  })

  test('a wrong verifier, another redirect URI, and a code that was used are refused', async () => {
    const refused = failing({ kind: 'refused', code: 'invalid_grant', status: 400 })
    const provider = server.provider()
    await expect(protocol.exchangeCode(provider, { ...(await consented()), verifier: random() })).rejects.toThrow(refused)
    await expect(protocol.exchangeCode(provider, { ...(await consented()), redirectUri: `${redirectUri}/` })).rejects.toThrow(refused)
    const used = await consented()
    await protocol.exchangeCode(provider, used)
    await expect(protocol.exchangeCode(provider, used)).rejects.toThrow(refused)
  })

  test('a client that is not accepted is told from a grant that has ended', async () => {
    const provider = server.provider({ clientSecret: () => 'another' })
    const refused = failing({ kind: 'refused', code: 'invalid_client', status: 401 })
    await expect(protocol.exchangeCode(provider, await consented())).rejects.toThrow(refused)
  })

  test.each<[string, Grant]>([
    ['for another client', { claims: { aud: 'another-client' } }],
    ['by another issuer', { claims: { iss: 'https://evil.example.com' } }],
    ['that has expired', { claims: { exp: Math.floor(Date.now() / 1000) - 3600 } }],
    ['with another nonce', { claims: { nonce: 'another' } }],
    ['that is missing', { answer: { id_token: undefined } }],
    ['without a signature', { answer: { id_token: `${Buffer.from('{"alg":"none"}').toString('base64url')}.e30.` } }],
    ['that is no JWT', { answer: { id_token: 'a.b.c' } }],
  ])('an id_token %s connects nobody', async (_, grant) => {
    const parts = await consented(grant)
    // The server lays the nonce over the claims: this one was asked for under another.
    const asked = grant.claims?.nonce === undefined ? parts : { ...parts, nonce: random() }
    await expect(protocol.exchangeCode(server.provider(), asked)).rejects.toThrow(failing({ kind: 'unreadable' }))
  })

  test('an id_token that another key signed connects nobody', async () => {
    const fresh = oauthProtocol({ requestMs: 1000 })
    const parts = await consented()
    const modulus = randomBytes(256).toString('base64url').replace(/^./, 'z')
    const foreign = { kty: 'RSA', kid: 'one', use: 'sig', alg: 'RS256', e: 'AQAB', n: modulus }
    server.next('/jwks', json(200, { keys: [foreign] }))
    await expect(fresh.exchangeCode(server.provider(), parts)).rejects.toThrow(failing({ kind: 'unreadable' }))
  })

  test('a server that speaks for many tenants is believed about its own alone', async () => {
    const tenant = '9188040d-6c67-4c5b-b112-36a304b66dad'
    const many = server.provider({ issuer: `${server.url}/{tenantid}/v2.0`, scopePrefix: 'https://graph.example.com/' })
    const scopes = 'https://graph.example.com/Mail.Send openid'
    const own = await consented({ claims: { iss: `${server.url}/${tenant}/v2.0` }, scopes }, many)
    expect(await protocol.exchangeCode(many, { ...own, iss: '' })).toMatchObject({ scopes: ['Mail.Send', 'openid'] })
    const others = [`${server.url}/${tenant}/v1.0`, `${server.url}/common/v2.0`, server.url, `https://evil.example.com/${tenant}/v2.0`]
    for (const iss of others) {
      const foreign = await consented({ claims: { iss } }, many)
      await expect(protocol.exchangeCode(many, { ...foreign, iss: '' })).rejects.toThrow(failing({ kind: 'unreadable' }))
    }
  })

  test('a token of another type, and one that lives for years, are not taken as they are', async () => {
    const foreign = await consented({ answer: { token_type: 'dpop' } })
    await expect(protocol.exchangeCode(server.provider(), foreign)).rejects.toThrow(failing({ kind: 'unreadable' }))
    const long = await protocol.exchangeCode(server.provider(), await consented({ answer: { expires_in: 1e9 } }))
    expect(long.expiresInMs).toBe(24 * 3_600_000)
  })
})

describe('a refresh', () => {
  test('brings a new token, and the rotated one where there is one', async () => {
    const { refreshToken } = await protocol.exchangeCode(server.provider(), await consented())
    const rotated = await protocol.refresh(server.provider(), refreshToken!)
    expect(rotated.accessToken).toMatch(/^access-/)
    expect(rotated.refreshToken).not.toBe(refreshToken)
    await expect(protocol.refresh(server.provider(), refreshToken!)).rejects.toThrow(failing({ kind: 'refused', code: 'invalid_grant' }))
  })

  test('without a new refresh token says so', async () => {
    server.next('/token', json(200, { access_token: 'fresh', token_type: 'bearer', expires_in: 60 }))
    expect(await protocol.refresh(server.provider(), 'kept')).toEqual({
      accessToken: 'fresh',
      expiresInMs: 60_000,
      refreshToken: undefined,
      scopes: undefined,
    })
  })

  test.each([
    ['429 with its wait', json(429, { error: 'slow_down' }, { 'retry-after': '7' }), { kind: 'busy', status: 429, retryAfterMs: 7000 }],
    ['500', json(500, {}), { kind: 'busy', status: 500 }],
    ['503 that is no JSON', json(503, 'x'), { kind: 'busy', status: 503 }],
    ['an error that nobody registered', json(400, { error: 'secret-of-theirs' }), { kind: 'refused', code: 'other', status: 400 }],
    ['server_error', json(400, { error: 'server_error' }), { kind: 'busy', status: 400 }],
    ['200 without a token', json(200, {}), { kind: 'unreadable' }],
    ['200 that is no object', json(200, [1]), { kind: 'unreadable' }],
  ] as const)('answered by %s fails as that', async (_, answer, failure) => {
    server.next('/token', answer)
    await expect(protocol.refresh(server.provider(), 'a-token')).rejects.toThrow(failing(failure))
  })
})

describe('revocation (RFC 7009)', () => {
  test('is confirmed, and names what kind of token it is', async () => {
    expect(await protocol.revoke(server.provider(), 'to-end', 'refresh')).toBe(true)
    expect(server.revoked).toContain('refresh_token to-end')
  })
  test('is not, where the provider knows no such thing', async () => {
    const { endpoints, ...rest } = server.provider()
    expect(await protocol.revoke({ ...rest, endpoints: { ...endpoints!, revocation: undefined } }, 'to-end', 'refresh')).toBe(false)
  })
})

describe('the way to a provider', () => {
  const soon = () => oauthProtocol({ requestMs: 150 })

  test('ends when the answer takes too long, at its head or in its body', async () => {
    server.next(
      '/token',
      () => undefined,
      (response) => void response.writeHead(200, { 'content-type': 'application/json' }).write('{'),
    )
    for (let attempt = 0; attempt < 2; attempt += 1) {
      await expect(soon().refresh(server.provider(), 'a-token')).rejects.toThrow(failing({ kind: 'unreachable' }))
    }
  })

  test('ends when nobody is there', async () => {
    const { endpoints, ...rest } = server.provider()
    const gone = { ...rest, endpoints: { ...endpoints!, token: new URL('http://127.0.0.1:1/token') } }
    await expect(soon().refresh(gone, 'a-token')).rejects.toThrow(failing({ kind: 'unreachable' }))
  })

  test('takes no answer that is larger than any token', async () => {
    server.next('/token', json(200, { access_token: 'x'.repeat(300 * 1024), token_type: 'bearer' }))
    await expect(protocol.refresh(server.provider(), 'a-token')).rejects.toThrow(failing({ kind: 'unreadable' }))
  })

  test('follows no redirect, which would carry the secret elsewhere', async () => {
    server.next('/token', (response) => void response.writeHead(307, { location: `${server.url}/elsewhere` }).end())
    await expect(protocol.refresh(server.provider(), 'a-token')).rejects.toThrow(failing({ kind: 'unreadable' }))
    expect(server.seen).not.toContain('POST /elsewhere')
  })

  test('is https, but for loopback where that is allowed', async () => {
    const before = server.tokenRequests.length
    await expect(protocol.refresh(server.provider({ allowHttp: false }), 'a-token')).rejects.toThrow(failing({ kind: 'unreadable' }))
    const { endpoints, ...rest } = server.provider()
    const plain = { ...rest, endpoints: { ...endpoints!, token: new URL('http://id.example.com/token') } }
    await expect(protocol.refresh(plain, 'a-token')).rejects.toThrow(failing({ kind: 'unreadable' }))
    expect(server.tokenRequests.length).toBe(before)
  })

  test('leaves nothing in an error: no token, no secret, nothing that the provider wrote', async () => {
    server.next('/token', json(400, { error: 'invalid_grant', error_description: 'their-text', access_token: 'their-token' }))
    const error = await protocol.refresh(server.provider(), 'our-token').catch((thrown: unknown) => thrown as ProviderError)
    expect(error).toBeInstanceOf(ProviderError)
    const { inspect } = await import('node:util')
    const all = inspect(error, { depth: 10, showHidden: true })
    for (const secret of ['their-text', 'their-token', 'our-token', 'the secret of the client']) expect(all).not.toContain(secret)
  })
})
