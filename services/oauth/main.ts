/** The oauth service as a process. */
import { auditing } from '#mesh/audit.ts'
import { appendClient } from '#mesh/audit/client.ts'
import { Health } from '#mesh/grpc/health.ts'
import { followAccess, identity } from '#mesh/identity.ts'
import { Database } from '#mesh/postgres/database.ts'
import { prepareDatabase } from '#mesh/postgres/migrate.ts'
import { openRedis, redisReady } from '#mesh/redis/redis.ts'
import { run, serveGrpc } from '#mesh/serve.ts'
import { assemble } from './assembly.ts'
import { checkConfig, providersOf, variables } from './config.ts'
import { postgresConnectStore } from './connect/store.postgres.ts'
import { redisConnectStore } from './connect/store.redis.ts'
import { postgresConnectionStore } from './connections/store.postgres.ts'
import { instruments as counted, showPendingRevocations } from './metrics.ts'
import { oauthProtocol } from './providers/protocol.ts'
import { postgresRevocationStore } from './revocations/store.postgres.ts'
import { oauthService } from './service.ts'
import { noCache } from './connections/token-cache.ts'
import { noJournal } from './tokens/journal.ts'
import { redisTokenCache, redisTokenJournal } from './tokens/store.redis.ts'

await run('oauth', variables, async (runtime) => {
  const { config, log, metrics, onStop } = runtime
  checkConfig(config)
  const { redisUrl, databaseUrl } = config
  const [own, providers, protocol] = [identity('oauth', config), providersOf(config), oauthProtocol({ requestMs: config.providerMs })]
  const instruments = counted(metrics, [...providers.list().keys()])
  await prepareDatabase(databaseUrl, new URL('./migrations/', import.meta.url), log, config)

  const database = new Database({ url: databaseUrl, log, metrics, connections: config.connections, statementMs: 1500 })
  onStop('database', () => database.close())
  const redis = redisUrl && openRedis({ url: redisUrl, log, metrics, commandMs: 500 })
  onStop('redis', () => redis?.disconnect())
  if (redis !== undefined) await redisReady(redis, 1000)
  const verifier = followAccess(runtime, own, { address: config.accessAddress })
  const { denials, relay } = auditing(runtime, appendClient(verifier.access))

  const onFailure = () => instruments.cacheFailures.inc()
  const revocations = postgresRevocationStore(database)
  showPendingRevocations(metrics, () => revocations.pending())
  const stepsToExpire = postgresConnectStore(database)
  const parts = { providers, protocol, instruments, log, acted: relay(database), keyStands: verifier.isKeyActive, stepsToExpire }
  const { connections, connectFlow, disconnector, refresh, tokens, loops } = assemble({
    ...config,
    ...parts,
    connections: postgresConnectionStore(database),
    revocations,
    steps: redis === undefined ? stepsToExpire : redisConnectStore({ redis }),
    cache: redis === undefined ? noCache : redisTokenCache({ redis, onFailure }),
    journal: redis === undefined ? noJournal : redisTokenJournal({ redis, onFailure }),
  })
  for (const [name, loop] of Object.entries(loops)) {
    loop.start()
    onStop(name, () => loop.stop())
  }
  onStop('refreshes in progress', () => refresh.drain())
  onStop('tokens', () => tokens.stop())
  const checks = { postgres: () => database.ping(), redis: async () => void (await redis?.ping()) }
  const health = new Health({ services: ['relay.oauth.v1.OAuthService'], checks, optional: ['redis'], timeoutMs: 2000 })
  // A step of connecting checks its key at once: a replica serves when it can tell.
  await verifier.ready
  const service = oauthService({ connectFlow, disconnector, connections, tokens, providers })
  return serveGrpc(runtime, { services: [service], verifier, tls: own.tls, denials, health })
})
