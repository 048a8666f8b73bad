/** The service's parts before a provider that others wrote, which they know out of a file of providers; Postgres is real too. */
import { randomBytes } from 'node:crypto'
import { Secret } from '#mesh/config.ts'
import { Database } from '#mesh/postgres/database.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import type { CallbackRequest } from '../../../services/oauth/connect/callback.ts'
import { ConnectFlow } from '../../../services/oauth/connect/connect.ts'
import { Disconnector } from '../../../services/oauth/connect/disconnect.ts'
import type { ConnectStore } from '../../../services/oauth/connect/store.ts'
import { postgresConnectStore } from '../../../services/oauth/connect/store.postgres.ts'
import { Connections } from '../../../services/oauth/connections/connections.ts'
import { postgresConnectionStore } from '../../../services/oauth/connections/store.postgres.ts'
import { instruments as counted } from '../../../services/oauth/metrics.ts'
import { oauthProtocol } from '../../../services/oauth/providers/protocol.ts'
import { parseProviders } from '../../../services/oauth/providers/providers-file.ts'
import { Providers } from '../../../services/oauth/providers/registry.ts'
import { noCache } from '../../../services/oauth/connections/token-cache.ts'
import { TokenRevoker } from '../../../services/oauth/revocations/token-revoker.ts'
import { postgresRevocationStore } from '../../../services/oauth/revocations/store.postgres.ts'
import { noJournal } from '../../../services/oauth/tokens/journal.ts'
import { Refresh } from '../../../services/oauth/tokens/refresh.ts'
import { Tokens } from '../../../services/oauth/tokens/tokens.ts'
import { Vault } from '../../../services/oauth/vault/vault.ts'
import { freshDatabase } from '../../setup/database.ts'
import { type Person, startOidcProvider } from './oidc-provider.ts'
import { eventsIn, everythingIn } from './stored.ts'

const publicUrl = new URL('https://relay.example.com')
/** Characters that client_secret_basic has to encode (RFC 6749, 2.3.1). */
const [secret, otherSecret] = ['the secret: of+the "client" & 100%', 'the secret of the other client']
const migrations = new URL('../../../services/oauth/migrations/', import.meta.url)

/**
 * One server under four names: `strict`; `other`, where we are another client; `lasting`, which is asked for consent only where it has to
 * be; and `unregistered`, whose redirect URI it does not know.
 */
const providersFile = (issuer: string) => `
providers:
${['strict', 'other', 'lasting', 'unregistered']
  .map(
    (name) => `
  - name: ${name}
    issuer: ${issuer}
    client_id_env: ${name === 'other' ? 'OTHER_ID' : 'STRICT_ID'}
    client_secret_env: ${name === 'other' ? 'OTHER_SECRET' : 'STRICT_SECRET'}
    scopes: [openid, email, offline_access, mail]
    ${name === 'lasting' ? 'reconsent' : 'parameters'}: { prompt: consent }
    allow_http: true`,
  )
  .join('')}
`

export type OidcStage = Awaited<ReturnType<typeof openOidcStage>>

export async function openOidcStage() {
  const fresh = await freshDatabase(migrations)
  const redirect = (name: string) => new URL(`/oauth/${name}/callback`, publicUrl).href
  const server = await startOidcProvider([
    { id: 'relay', secret, redirectUris: [redirect('strict'), redirect('lasting')] },
    { id: 'other', secret: otherSecret, redirectUris: [redirect('other')] },
  ])
  let logged = ''
  const log = createLogger('oauth', 'trace', { write: (line: string) => void (logged += line) })
  const declared = parseProviders(providersFile(server.url))
  const providersWith = (strictSecret: string) => {
    const variables = { STRICT_ID: 'relay', STRICT_SECRET: strictSecret, OTHER_ID: 'other', OTHER_SECRET: otherSecret }
    return new Providers(declared, (name) => variables[name as keyof typeof variables])
  }
  const [providers, protocol] = [providersWith(secret), oauthProtocol({ requestMs: 5000 })]
  const vault = new Vault([`${randomBytes(32).toString('base64url')}=`])
  const database = new Database({ url: new Secret(fresh.url), log })
  const [store, steps] = [postgresConnectionStore(database), postgresConnectStore(database)]
  const connections = new Connections({ store, cache: noCache })
  const base = { providers, protocol, vault, connections, log }
  const tokenRevoker = new TokenRevoker({ ...base, store: postgresRevocationStore(database), instruments: counted(new Metrics('oauth')) })
  const connectingWith = (over: { publicUrl?: URL; store?: ConnectStore } = {}) =>
    new ConnectFlow({ ...base, tokenRevoker, keyStands: () => true, publicUrl, store: steps, returnOrigins: [], ...over })
  const connectFlow = connectingWith()

  /** What hands out tokens in another process. */
  const replica = (of: Providers = providers) => {
    const parts = { store, cache: noCache, vault, protocol, log, instruments: counted(new Metrics('oauth')) }
    const refresh = new Refresh({ ...parts, journal: noJournal, tokenRevoker, waitMs: 5000, leaseMs: 15_000 })
    return new Tokens({ ...parts, refresh, provider: (name) => of.get(name) })
  }
  const tokens = replica()
  const running = [tokens]

  const principalOf = (actor: string) => ({ workspace: 'acme', actor, keyId: 'key', ...visit })
  const ownerOf = (actor: string, provider = 'strict') => ({ workspace: 'acme', actor, provider })
  const find = (actor: string, provider?: string) => connections.find(ownerOf(actor, provider))

  return {
    server,
    database,
    vault,
    connectFlow,
    connectingWith,
    steps,
    disconnector: new Disconnector({ connections, tokenRevoker }),
    logged: () => logged,
    find,
    principalOf: principalOf,

    /** Up to the provider. */
    async sentOff(actor: string, provider = 'strict') {
      const { startUrl } = await connectFlow.authorize(principalOf(actor), { provider, scopes: [], returnTo: '' })
      return this.started(startUrl)
    },
    async started(startUrl: string) {
      const ticket = startUrl.slice(startUrl.lastIndexOf('/') + 1)
      const cookieOf = (setCookies: string[]) => setCookies[0]?.split(';')[0] ?? ''
      const shown = await connectFlow.start(ticket, '', visit)
      const formToken = /name="form_token" value="([^"]*)"/.exec(shown.html)?.[1] ?? ''
      const { forward: location, setCookies } = await connectFlow.proceed({ ticket, formToken, cookie: cookieOf(shown.setCookies) }, visit)
      return { location, cookie: cookieOf(setCookies) }
    },
    /** Up to the callback. */
    async cameBack(
      actor: string,
      { provider = 'strict', ...person }: { provider?: string } & Partial<Person> = {},
    ): Promise<CallbackRequest> {
      const { location, cookie } = await this.sentOff(actor, provider)
      return { provider, cookie, ...(await server.consent(location, { account: actor, ...person })) }
    },
    callback: (back: CallbackRequest) => connectFlow.callback(back, visit),
    /** All the way: the connection, and what it opens. */
    async connected(actor: string) {
      const { status } = await connectFlow.callback(await this.cameBack(actor), visit)
      if (status !== 200) throw new Error(`not connected: ${status}`)
      return this.opened(actor)
    },
    /** The connection that stands, and its tokens in the clear. */
    async opened(actor: string) {
      const held = (await find(actor))!
      const { connectionId } = held
      const open = (kind: 'access' | 'refresh', sealed: string) => vault.open({ workspace: 'acme', connectionId, kind }, sealed)
      return { held, connectionId, access: open('access', held.tokens.access), refresh: open('refresh', held.tokens.refresh!) }
    },
    /** What `actions` asks for. */
    token: (actor: string, connectionId: string, { refused, from = tokens }: { refused?: string; from?: Tokens } = {}) =>
      from.token({ ...ownerOf(actor), connectionId, refused }, principalOf(actor)),
    replica(of: { secret?: string } = {}) {
      const another = replica(of.secret === undefined ? providers : providersWith(of.secret))
      running.push(another)
      return another
    },
    /** Somebody else who came by a refresh token, and by our secret. */
    thief: (refreshToken: string) => protocol.refresh(providers.get('strict'), refreshToken),

    events: () => eventsIn(database),
    everything: () => everythingIn(database),
    async close() {
      for (const each of running) each.stop()
      await Promise.all([database.close(), server.close()])
      await fresh.drop()
    },
  }
}

export const visit = {
  requestId: '22222222-2222-4222-8222-222222222222',
  traceId: 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',
  source: '198.51.100.2',
}
