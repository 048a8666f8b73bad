/** The oauth service as a process. */
import { auditing } from '#mesh/audit.ts'
import { appendThrough } from '#mesh/grpc/audit.ts'
import { Health } from '#mesh/grpc/health.ts'
import { followAccess, identity } from '#mesh/identity.ts'
import { Database } from '#mesh/postgres/database.ts'
import { prepareDatabase } from '#mesh/postgres/migrate.ts'
import { openRedis, redisReady } from '#mesh/redis/redis.ts'
import { run, serveGrpc } from '#mesh/serve.ts'
import { checkConfig, providersOf, variables } from './config.ts'
import { Connecting } from './connect/connect.ts'
import { Disconnecting } from './connect/disconnect.ts'
import { postgresConnectStore } from './connect/store.postgres.ts'
import { redisConnectStore } from './connect/store.redis.ts'
import { Connections } from './connections/connections.ts'
import { postgresConnectionStore } from './connections/store.postgres.ts'
import { instruments as counted } from './metrics.ts'
import { oauthProtocol } from './providers/protocol.ts'
import { oauthService } from './service.ts'
import { noCache } from './tokens/cache.ts'
import { giveBack } from './tokens/give-back.ts'
import { heartbeat } from './tokens/heartbeat.ts'
import { noJournal } from './tokens/journal.ts'
import { Refresh } from './tokens/refresh.ts'
import { redisTokenCache, redisTokenJournal } from './tokens/store.redis.ts'
import { Tokens } from './tokens/tokens.ts'

await run('oauth', variables, async (runtime) => {
  const { config, log, metrics, onStop } = runtime
  const { redisUrl, providerMs: requestMs, databaseUrl } = config
  checkConfig(config)
  const own = identity('oauth', config)
  const [providers, protocol] = [providersOf(config), oauthProtocol({ requestMs })]
  const instruments = counted(metrics, [...providers.list().keys()])
  await prepareDatabase(databaseUrl, new URL('./migrations/', import.meta.url), log, config)

  const database = new Database({ url: databaseUrl, log, metrics, connections: config.connections, statementMs: 1500 })
  onStop('database', () => database.close())
  const redis = redisUrl && openRedis({ url: redisUrl, log, metrics, commandMs: 500 })
  onStop('redis', () => redis?.disconnect())
  if (redis !== undefined) await redisReady(redis, 1000)
  const verifier = followAccess(runtime, own, { address: config.accessAddress })
  const { refusals, relay } = auditing(runtime, appendThrough(verifier.access))
  const acted = relay(database)

  const store = postgresConnectionStore(database)
  const cache = redis === undefined ? noCache : redisTokenCache({ redis, onFailure: () => instruments.cacheFailures.inc() })
  const connections = new Connections({ store, cache, acted })
  const journal = redis === undefined ? noJournal : redisTokenJournal({ redis, onFailure: () => instruments.cacheFailures.inc() })
  const parts = { ...config, store, cache, journal, connections, providers, protocol, instruments, log, acted }
  // The provider may have to be discovered first; the rest is for writing what it gave.
  const refresh = new Refresh({ ...parts, dropped: giveBack(parts), leaseMs: 2 * requestMs + 2000 })
  const beating = heartbeat(parts)
  beating.start()
  onStop('heartbeat', () => beating.stop())
  onStop('refreshes under way', () => refresh.drain())
  const tokens = new Tokens({ ...parts, refresh, provider: (name) => providers.get(name) })
  onStop('tokens', () => tokens.stop())
  const onStep = (step: string, outcome: string) => instruments.steps.inc({ step, outcome })
  const connectStore = redis === undefined ? postgresConnectStore(database) : redisConnectStore({ redis })
  const connecting = new Connecting({ ...parts, store: connectStore, onStep })
  const service = oauthService({ ...parts, connecting, disconnecting: new Disconnecting(parts), tokens })
  const checks = { postgres: () => database.ping(), redis: async () => void (await redis?.ping()) }
  const health = new Health({ services: ['relay.oauth.v1.OAuthService'], checks, optional: ['redis'], timeoutMs: 2000 })
  return serveGrpc(runtime, { services: [service], verifier, tls: own.tls, refusals, health })
})
