/** The idempotency service as a process. */
import { auditing } from '#mesh/audit.ts'
import { appendClient } from '#mesh/audit/client.ts'
import { Health } from '#mesh/grpc/health.ts'
import { followAccess, identity } from '#mesh/identity.ts'
import { Database } from '#mesh/postgres/database.ts'
import { prepareDatabase } from '#mesh/postgres/migrate.ts'
import { run, serveGrpc } from '#mesh/serve.ts'
import { variables } from './config.ts'
import { instruments } from './metrics.ts'
import { reaper } from './reaper.ts'
import { idempotencyService } from './service.ts'
import { PostgresClaimStore } from './store.postgres.ts'

await run('idempotency', variables, async (runtime) => {
  const { config, log, metrics } = runtime
  const own = identity('idempotency', config)

  await prepareDatabase(config.databaseUrl, new URL('migrations/', import.meta.url), log, config)
  // A statement times out before the calls that wait for it (deadline_ms in the contract), so that they get the reason.
  const database = new Database({ url: config.databaseUrl, log, metrics, connections: config.connections, statementMs: 1000 })
  runtime.onStop('database', () => database.close())

  const store = new PostgresClaimStore({ database, retentionMs: config.retentionMs })
  const counted = instruments(metrics)
  const reaping = reaper({ store, intervalMs: config.reapIntervalMs, instruments: counted, log })
  reaping.start()
  runtime.onStop('reaper', () => reaping.stop())

  const verifier = followAccess(runtime, own, { address: config.accessAddress })
  const { denials } = auditing(runtime, appendClient(verifier.access))
  const health = new Health({ services: ['relay.idempotency.v1.IdempotencyService'], checks: { postgres: () => database.ping() } })
  const service = idempotencyService({ store, leaseMs: config.leaseMs, instruments: counted })
  return serveGrpc(runtime, { services: [service], verifier, tls: own.tls, denials, health })
})
