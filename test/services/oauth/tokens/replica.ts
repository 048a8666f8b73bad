/** What hands out tokens in a replica, with a pool of its own, beside others on one database; and a provider that answers as told. */
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import type { Principal } from '#mesh/audit/event.ts'
import { Secret } from '#mesh/config.ts'
import { Database } from '#mesh/postgres/database.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { connectionEvent } from '../../../../services/oauth/connections/connections.ts'
import { postgresConnectionStore } from '../../../../services/oauth/connections/store.postgres.ts'
import type { Connection, ConnectionStore } from '../../../../services/oauth/connections/store.ts'
import { instruments } from '../../../../services/oauth/metrics.ts'
import type { TokenGrant } from '../../../../services/oauth/providers/protocol.ts'
import { ProviderError, type ProviderFailure } from '../../../../services/oauth/providers/provider-error.ts'
import type { Provider } from '../../../../services/oauth/providers/provider.ts'
import { type TokenCache, noCache } from '../../../../services/oauth/connections/token-cache.ts'
import { TokenRevoker } from '../../../../services/oauth/revocations/token-revoker.ts'
import { postgresRevocationStore } from '../../../../services/oauth/revocations/store.postgres.ts'
import { connectionHeartbeat } from '../../../../services/oauth/tokens/heartbeat.ts'
import { type TokenJournal, noJournal } from '../../../../services/oauth/tokens/journal.ts'
import { Refresh } from '../../../../services/oauth/tokens/refresh.ts'
import { Tokens } from '../../../../services/oauth/tokens/tokens.ts'
import { Vault } from '../../../../services/oauth/vault/vault.ts'

export const vaultKey = `${randomBytes(32).toString('base64url')}=`
export const leaseMs = 1500
export const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
/** Easy to look for wherever it must not be. */
export const tokenOf = (what: string) => `secret-${what}-${randomBytes(12).toString('hex')}`

export const principal: Principal = {
  workspace: 'acme',
  actor: 'ann',
  keyId: '',
  requestId: randomUUID(),
  traceId: 'f'.repeat(32),
  source: '192.0.2.7',
}

export const google: Provider = {
  name: 'google',
  title: 'Google',
  issuer: 'https://accounts.example.com',
  endpoints: undefined,
  clientId: 'client',
  clientSecret: () => 'client-secret',
  clientAuth: 'client_secret_post',
  scopes: ['mail'],
  permissions: {},
  parameters: {},
  reconsent: {},
  revocationEnds: 'account',
  scopePrefix: '',
  allowHttp: false,
}

type Answer = (refreshToken: string) => Promise<TokenGrant> | TokenGrant

/** One provider for all replicas of a test. */
export class FakeProvider {
  readonly calls: string[] = []
  readonly revoked: string[] = []
  /** All that it ever gave. */
  readonly given: string[] = []
  answer: Answer = () => this.grant()

  grant(more: Partial<TokenGrant> = {}): TokenGrant {
    const granted = { accessToken: tokenOf('access'), expiresInMs: 3_600_000, refreshToken: undefined, scopes: undefined, ...more }
    this.given.push(granted.accessToken, ...(granted.refreshToken === undefined ? [] : [granted.refreshToken]))
    return granted
  }

  fails(failure: ProviderFailure): void {
    this.answer = () => {
      throw new ProviderError(failure)
    }
  }

  readonly refresh = async (_: Provider, refreshToken: string): Promise<TokenGrant> => {
    this.calls.push(refreshToken)
    return this.answer(refreshToken)
  }

  readonly revoke = async (_: Provider, token: string): Promise<boolean> => {
    this.revoked.push(token)
    return true
  }
}

export interface Replica {
  readonly database: Database
  readonly store: ConnectionStore
  readonly refresh: Refresh
  readonly tokens: Tokens
  readonly vault: Vault
  readonly metrics: Metrics
  readonly lines: string[]
  close(): Promise<void>
}

export interface ReplicaOptions {
  cache?: TokenCache
  journal?: TokenJournal
  store?: (store: ConnectionStore) => ConnectionStore
  /** How long the provider is waited for. */
  waitMs?: number
  /** Of a refresh; `leaseMs` when unset. */
  lease?: number
}

export function openReplica(url: string, provider: FakeProvider, options: ReplicaOptions = {}): Replica {
  const { cache = noCache, journal = noJournal, store: change = (store) => store, waitMs = 60_000, lease = leaseMs } = options
  const lines: string[] = []
  const log = createLogger('oauth', 'trace', { write: (line: string) => void lines.push(line) })
  const metrics = new Metrics('oauth')
  const counted = instruments(metrics)
  const database = new Database({ url: new Secret(url), log, statementMs: 1500 })
  const [store, vault] = [change(postgresConnectionStore(database)), new Vault([vaultKey])]
  const providers = { find: () => ({ provider: google }) }
  const tokenRevoker = new TokenRevoker({
    store: postgresRevocationStore(database),
    providers,
    protocol: provider,
    vault,
    instruments: counted,
    log,
  })
  const refresh = new Refresh({
    store,
    cache,
    journal,
    vault,
    protocol: provider,
    instruments: counted,
    log,
    leaseMs: lease,
    waitMs,
    tokenRevoker,
  })
  const beating = connectionHeartbeat({ store, instruments: counted, log })
  beating.start()
  const tokens = new Tokens({ store, cache, vault, refresh, instruments: counted, log, provider: () => google })
  return {
    database,
    store,
    refresh,
    tokens,
    vault,
    metrics,
    lines,
    async close() {
      tokens.stop()
      await refresh.drain()
      await beating.stop()
      await database.close()
    },
  }
}

export interface CreatedConnection extends Connection {
  readonly accessToken: string
  readonly refreshToken: string
}

/** Redis is shared. */
const run = randomBytes(4).toString('hex')
let actors = 0

/** A connection of somebody new, by default one whose access token has expired. */
export async function made(
  { store, vault }: Pick<Replica, 'store' | 'vault'>,
  { leftMs = -1000, provider = 'google' }: { leftMs?: number; provider?: string } = {},
): Promise<CreatedConnection> {
  const owner = { workspace: 'acme', actor: `actor-${run}-${(actors += 1)}`, provider }
  const [connectionId, accessToken, refreshToken] = [randomUUID(), tokenOf('access'), tokenOf('refresh')]
  const seal = (kind: 'access' | 'refresh', text: string) => vault.seal({ workspace: owner.workspace, connectionId, kind }, text)
  const connection = await store.upsert(
    {
      ...owner,
      connectionId,
      account: `${owner.actor}@example.com`,
      scopes: ['mail'],
      tokens: {
        access: seal('access', accessToken),
        accessExpiresAt: new Date(Date.now() + leftMs),
        refresh: seal('refresh', refreshToken),
      },
    },
    connectionEvent(principal, 'connection.made', { connectionId, provider: owner.provider }),
  )
  return { ...connection, accessToken, refreshToken }
}

/** A promise that is resolved from outside. */
export function gate(): { readonly open: () => void; readonly opened: Promise<void> } {
  let open = () => {}
  const opened = new Promise<void>((resolve) => (open = resolve))
  return { open, opened }
}
