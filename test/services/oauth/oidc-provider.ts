/**
 * An authorization server that others wrote (npm oidc-provider), on loopback: PKCE for everybody, a new refresh token with each refresh
 * (and the end of the grant where an old one comes back), the issuer in each answer, revocation. And a browser with a person before it.
 */
import { once } from 'node:events'
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair } from 'jose'
import { Provider } from 'oidc-provider'
import { createMemoryAdapter } from 'oidc-provider/lib/adapters/memory_adapter.js'

export interface Client {
  id: string
  secret: string
  redirectUris: string[]
}

export interface Person {
  account: string
  /** Says no when asked for consent. */
  denies?: boolean
  /** A scope that they leave out. */
  without?: string
}

/** What a browser brings to the callback; empty where it has none of it. */
export interface CallbackResult {
  state: string
  code: string
  iss: string
  error: string
}

/** The scopes that there are: OpenID's, and `mail`. */
export async function startOidcProvider(clients: readonly Client[]) {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const life = { accessSeconds: 3600 }
  const { privateKey } = await generateKeyPair('RS256', { extractable: true })
  const provider = new Provider(url, {
    ...strictness,
    adapter: createMemoryAdapter(),
    jwks: { keys: [{ ...(await exportJWK(privateKey)), use: 'sig', alg: 'RS256' }] },
    clients: clients.map(({ id, secret, redirectUris }) => ({
      client_id: id,
      client_secret: secret,
      redirect_uris: redirectUris,
      grant_types: ['authorization_code', 'refresh_token'],
    })),
    ttl: { ...lives, AccessToken: () => life.accessSeconds },
  })

  const [granted, refused, issued, ended]: [string[], string[], string[], string[]] = [[], [], [], []]
  provider.on('grant.success', ({ oidc, body }) => {
    granted.push(String(oidc.params?.['grant_type']))
    const { access_token: access, refresh_token: refresh, id_token: id } = body as Record<string, string | undefined>
    issued.push(...[access, refresh, id].filter((token) => token !== undefined))
  })
  const note = (_: unknown, error: { error: string; error_description?: string; error_detail?: string }) =>
    void refused.push(`${error.error}: ${error.error_detail ?? error.error_description}`)
  provider.on('grant.error', note)
  provider.on('authorization.error', note)
  provider.on('grant.revoked', (_, grantId) => void ended.push(grantId))

  const grants = new Map<string, string[]>()
  /** The person's answers, where the provider asks for them. */
  async function interact(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const person = JSON.parse(String(request.headers['x-person'])) as Person
    const { prompt, params } = await provider.interactionDetails(request, response)
    const answer = (result: object) => provider.interactionFinished(request, response, result)
    if (prompt.name === 'login') return answer({ login: { accountId: person.account } })
    if (person.denies) return answer({ error: 'access_denied', error_description: 'the person said no' })
    const grant = new provider.Grant({ accountId: person.account, clientId: params.client_id })
    grant.addOIDCScope(
      params.scope
        .split(' ')
        .filter((scope) => scope !== person.without)
        .join(' '),
    )
    if (person.without !== undefined) grant.rejectOIDCScope(person.without)
    const grantId = await grant.save()
    grants.set(person.account, [...(grants.get(person.account) ?? []), grantId])
    return answer({ consent: { grantId } })
  }
  const handle = provider.callback()
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const handled = request.url?.startsWith('/interaction/') ? interact(request, response) : handle(request, response)
    handled.catch(() => response.writeHead(500).end())
  })

  return {
    url,
    /** How long access tokens live that are issued from now on. */
    life,
    /** The grant types of what the token endpoint granted, in order; and why it, or the authorization endpoint, granted nothing. */
    granted,
    refused,
    /** Every token that it gave. */
    issued,
    /** Grants that ended at its endpoints, with all their tokens. */
    ended,

    /** From an authorization request back to us. Throws where the provider shows an error of its own instead, with its status. */
    async consent(location: string, person: Person): Promise<CallbackResult> {
      const jar = new Map<string, string>()
      let at = new URL(location)
      while (at.origin === url) {
        const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
        const response = await fetch(at, { redirect: 'manual', headers: { cookie, 'x-person': JSON.stringify(person) } })
        await response.arrayBuffer()
        const next = response.headers.get('location')
        if (next === null) throw new Error(`the provider sends nobody back: ${response.status}`)
        for (const line of response.headers.getSetCookie()) {
          const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)!
          if (value === '') jar.delete(name!)
          else jar.set(name!, value!)
        }
        at = new URL(next, at)
      }
      const read = (name: string) => at.searchParams.get(name) ?? ''
      return { state: read('state'), code: read('code'), iss: read('iss'), error: read('error') }
    },

    /** Whether an access token opens anything. */
    async accepts(accessToken: string): Promise<boolean> {
      const response = await fetch(`${url}/me`, { headers: { authorization: `Bearer ${accessToken}` } })
      await response.arrayBuffer()
      return response.status === 200
    },

    /** The person takes back, at the provider, all that they granted. */
    async takeBack(account: string): Promise<void> {
      for (const grantId of grants.get(account) ?? []) {
        await provider.AccessToken.revokeByGrantId(grantId)
        await provider.RefreshToken.revokeByGrantId(grantId)
        await (await provider.Grant.find(grantId))?.destroy()
      }
    },

    async close(): Promise<void> {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

/** In seconds. */
const lives = { AuthorizationCode: 60, IdToken: 300, RefreshToken: 86_400, Grant: 86_400, Interaction: 300, Session: 300 }

const strictness = {
  pkce: { required: () => true },
  rotateRefreshToken: true,
  scopes: ['openid', 'offline_access', 'mail'],
  claims: { openid: ['sub'], email: ['email', 'email_verified'] },
  cookies: { keys: ['signs the cookies of a test'] },
  interactions: { url: (_: unknown, { uid }: { uid: string }) => `/interaction/${uid}` },
  features: {
    devInteractions: { enabled: false },
    revocation: {
      enabled: true,
      allowedPolicy: (_: unknown, client: { clientId: string }, token: { clientId: string }) => client.clientId === token.clientId,
    },
  },
  findAccount: (_: unknown, sub: string) => ({
    accountId: sub,
    claims: () => ({ sub, email: `${sub}@example.com`, email_verified: true }),
  }),
  renderError: (context: { body: unknown }) => void (context.body = 'refused'),
}
