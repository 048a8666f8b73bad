import { auditing } from '#mesh/audit.ts'
import { appendThrough } from '#mesh/grpc/audit.ts'
import { Channel } from '#mesh/grpc/client.ts'
import { Health } from '#mesh/grpc/health.ts'
import { followAccess, identity } from '#mesh/identity.ts'
import { Database } from '#mesh/postgres/database.ts'
import { migrate } from '#mesh/postgres/migrate.ts'
import { run, serveGrpc } from '#mesh/serve.ts'
import { webhookAdapter } from './adapters/webhook.ts'
import { parsePolicy } from './address-guard.ts'
import { Catalog } from './catalog.ts'
import { grpcClaims } from './claims.grpc.ts'
import { checkConfig, variables } from './config.ts'
import { RunDriver } from './driver.ts'
import { Execution } from './execute.ts'
import { ActionMetrics } from './metrics.ts'
import { Outbox } from './outbox.ts'
import { Previews } from './preview.ts'
import { Reconciler } from './reconciler.ts'
import { RunWatch } from './run-watch.ts'
import { actionsService } from './service.ts'
import { postgresStore } from './store.postgres.ts'

await run('actions', variables, async (runtime) => {
  const { config, log, metrics: instruments } = runtime
  checkConfig(config)
  const own = identity('actions', config)
  const policy = parsePolicy(config.webhookAllowPrivate)
  if (policy.allow.length > 0) log.warn({ ranges: config.webhookAllowPrivate }, 'webhooks may go to addresses that are not public')
  await migrate(config.databaseUrl, new URL('./migrations/', import.meta.url), log)

  const database = new Database({ url: config.databaseUrl, log, metrics: instruments, connections: config.databaseConnections })
  runtime.onStop('database', () => database.close())
  const { peerToken, tls } = own
  const channel = new Channel({ address: config.idempotencyAddress, service: 'idempotency', peerToken, tls, metrics: instruments })
  runtime.onStop('idempotency channel', () => channel.close())
  const verifier = followAccess(runtime, own, { address: config.accessAddress })
  const { refusals, relay } = auditing(runtime, appendThrough(verifier.access))
  const webhook = { signingSecret: config.signingSecret.reveal(), defaultUrl: config.webhookUrl, policy, timeoutMs: config.webhookMs }
  const catalog = new Catalog([webhookAdapter(webhook)])
  const store = postgresStore(database, relay(database))
  const claims = grpcClaims(channel)
  const metrics = new ActionMetrics(instruments, store)
  const watch = new RunWatch((runId) => store.findRun(runId))
  const outbox = new Outbox({ store, claims, log, everyMs: config.outboxMs })
  const leaseMs = config.runLeaseMs
  const driver = new RunDriver({ store, catalog, outbox, watch, metrics, log, leaseMs, actMs: config.runActMs })
  const reconciler = new Reconciler({ store, driver, metrics, log, leaseMs, everyMs: config.reconcileMs, keepPreviewsMs: config.previewMs })
  outbox.start()
  runtime.onStop('outbox', () => outbox.stop())
  runtime.onStop('runs under way', () => driver.drain())
  reconciler.start()
  runtime.onStop('reconciler', () => reconciler.stop())
  const previews = new Previews({ catalog, store, ttlMs: config.previewMs })
  const execution = new Execution({ store, claims, catalog, driver, watch, leaseMs, waitMs: config.waitMs })
  const service = actionsService({ enabled: config.enabled, catalog, previews, execution, store, metrics })
  const health = new Health({ services: ['relay.actions.v1.ActionsService'], checks: { postgres: () => database.ping() } })
  return serveGrpc(runtime, { services: [service], verifier, tls: own.tls, refusals, health })
})
