/** Connecting with everything real but the person: Postgres, the vault, an authorization server. */
import { randomBytes } from 'node:crypto'
import { expect } from 'vitest'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Secret } from '#mesh/config.ts'
import { Database } from '#mesh/postgres/database.ts'
import type { CallbackRequest } from '../../../../services/oauth/connect/callback.ts'
import { ConnectFlow, type ConnectFlowParts } from '../../../../services/oauth/connect/connect.ts'
import { Disconnector } from '../../../../services/oauth/connect/disconnect.ts'
import { type PageResponse, words } from '../../../../services/oauth/connect/pages.ts'
import { postgresConnectStore } from '../../../../services/oauth/connect/store.postgres.ts'
import { Connections } from '../../../../services/oauth/connections/connections.ts'
import { postgresConnectionStore } from '../../../../services/oauth/connections/store.postgres.ts'
import type { Provider } from '../../../../services/oauth/providers/provider.ts'
import { oauthProtocol } from '../../../../services/oauth/providers/protocol.ts'
import { type DeclaredProvider, Providers } from '../../../../services/oauth/providers/registry.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { instruments } from '../../../../services/oauth/metrics.ts'
import { TokenRevoker } from '../../../../services/oauth/revocations/token-revoker.ts'
import { postgresRevocationStore } from '../../../../services/oauth/revocations/store.postgres.ts'
import { noCache } from '../../../../services/oauth/connections/token-cache.ts'
import { Vault } from '../../../../services/oauth/vault/vault.ts'
import { freshDatabase } from '../../../setup/database.ts'
import { type Grant, client, startAuthorizationServer } from '../authorization-server.ts'
import { eventsIn, everythingIn } from '../stored.ts'

export const principal = {
  workspace: 'acme',
  actor: 'ann',
  keyId: 'key-of-ann',
  requestId: '11111111-1111-4111-8111-111111111111',
  traceId: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
  source: '192.0.2.1',
}
export const visit = {
  requestId: '22222222-2222-4222-8222-222222222222',
  traceId: 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',
  source: '198.51.100.2',
}
export const returnOrigin = 'https://studio.example.com'

/** The page of a refusal, with the request id and nothing else that the visitor could not know. */
export const page = (which: keyof typeof words) => {
  const { status, title } = words[which]
  return expect.objectContaining({ status, location: '', html: expect.stringContaining(`<h1>${title}</h1>`) as string }) as object
}

const migrations = new URL('../../../../services/oauth/migrations/', import.meta.url)
const newKey = () => randomBytes(32).toString('base64url') + '='

export type Harness = Awaited<ReturnType<typeof openHarness>>

interface Wish {
  provider?: string
  scopes?: string[]
  returnTo?: string
  actor?: string
  session?: string
}

export async function openHarness(over: { publicUrl?: string } = {}) {
  const fresh = await freshDatabase(migrations)
  const server = await startAuthorizationServer()
  let logged = ''
  const log = createLogger('oauth', 'trace', { write: (line: string) => void (logged += line) })
  const database = new Database({ url: new Secret(fresh.url), log })
  const connections = new Connections({ store: postgresConnectionStore(database), cache: noCache })
  const declared = (provider: Partial<Provider>): DeclaredProvider => {
    const { clientId: _, clientSecret: __, ...rest } = server.provider(provider)
    return { ...rest, clientIdVariable: 'THE_ID', clientSecretVariable: 'THE_SECRET' }
  }
  const unset = { ...declared({ name: 'unset' }), clientIdVariable: 'UNSET_ID', clientSecretVariable: 'UNSET_SECRET' }
  const variables: Record<string, string> = { THE_ID: client.id, THE_SECRET: client.secret }
  const all = [
    declared({}),
    declared({ name: 'discovered', endpoints: undefined }),
    declared({ name: 'granting', revocationEnds: 'grant' }),
    declared({ name: 'second', title: '<Second> & "co"', scopes: ['openid', 'mail'] }),
    unset,
  ]
  const providers = new Providers(all, (name) => variables[name])
  const vault = new Vault([newKey()])
  const protocol = oauthProtocol({ requestMs: 1000 })
  const store = postgresConnectStore(database)
  const revocations = postgresRevocationStore(database)
  const tokenRevoker = new TokenRevoker({
    store: revocations,
    providers,
    protocol,
    vault,
    instruments: instruments(new Metrics('oauth')),
    log,
  })
  const publicUrl = new URL(over.publicUrl ?? 'https://relay.example.com')
  const told: string[] = []
  const revokedKeys = new Set<string>()
  const keyStands = (keyId: string) => !revokedKeys.has(keyId)
  const parts = { providers, protocol, store, vault, connections, tokenRevoker, keyStands, publicUrl, returnOrigins: [returnOrigin], log }
  const connectFlow = new ConnectFlow({ ...parts, onStep: (step, outcome) => void told.push(`${step} ${outcome}`) })

  const ticketOf = (startUrl: string) => startUrl.slice(startUrl.lastIndexOf('/') + 1)
  const cookieOf = ({ setCookies }: PageResponse) => setCookies[0]?.split(';')[0] ?? ''
  const formTokenOf = ({ html }: PageResponse) => /name="form_token" value="([^"]*)"/.exec(html)?.[1] ?? ''

  return {
    server,
    database,
    connections,
    connectFlow,
    providers,
    vault,
    told,
    /** Ids of keys that do not stand any more. */
    revokedKeys,
    tokenRevoker,
    disconnector: new Disconnector({ connections, tokenRevoker }),
    logged: () => logged,
    ticketOf,
    cookieOf,
    formTokenOf,
    /** The same service with another store, key or provider. */
    with: (changed: Partial<Pick<ConnectFlowParts, 'store' | 'vault' | 'providers' | 'connections' | 'keyStands'>>) =>
      new ConnectFlow({ ...parts, ...changed }),
    providersWithout: () => new Providers(all, () => undefined),

    /** Up to the provider: what a browser was sent off with. */
    async sentOff({ provider = 'example', scopes = [], returnTo = '', actor = 'ann', session }: Wish = {}) {
      const { startUrl } = await connectFlow.authorize({ ...principal, actor }, { provider, scopes, returnTo, session })
      return this.continued(startUrl)
    },
    /** A person who reads the page of a link, and continues from it. */
    async continued(startUrl: string) {
      const ticket = ticketOf(startUrl)
      const shown = await connectFlow.start(ticket, '', visit)
      const response = await connectFlow.proceed({ ticket, formToken: formTokenOf(shown), cookie: cookieOf(shown) }, visit)
      return { answer: response, cookie: cookieOf(response) }
    },

    /** Up to the callback: what the browser would come back with after consent. */
    async cameBack(wanted: Wish = {}, grant: Grant = {}): Promise<CallbackRequest> {
      const { answer: response, cookie } = await this.sentOff(wanted)
      return { provider: wanted.provider ?? 'example', error: '', cookie, ...server.consent(response.forward, grant) }
    },

    events: () => eventsIn(database),
    everything: () => everythingIn(database),
    async close() {
      await Promise.all([database.close(), server.close()])
      await fresh.drop()
    },
  }
}
