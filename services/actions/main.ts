import { auditing } from '#mesh/audit.ts'
import { appendClient } from '#mesh/audit/client.ts'
import { Health } from '#mesh/grpc/health.ts'
import { followAccess, identity } from '#mesh/identity.ts'
import { run, serveGrpc } from '#mesh/serve.ts'
import { signatureKeyring } from '#mesh/signature-variables.ts'
import { builtinActions } from './adapters/builtin-actions.ts'
import { parsePolicy } from './egress/egress-policy.ts'
import { Catalog } from './catalog.ts'
import { channels } from './channels.grpc.ts'
import { grpcClaims } from './claims.grpc.ts'
import { apis, checkConfig, variables } from './config.ts'
import { connectionsThroughOauth } from './connections.grpc.ts'
import { RunExecutor } from './runs/run-executor.ts'
import { Execution } from './runs/execute.ts'
import { ActionMetrics, outgoingMetrics } from './metrics.ts'
import { Outbox } from './runs/outbox.ts'
import { Previews } from './preview.ts'
import { Reconciler } from './runs/reconciler.ts'
import { RunWaiter } from './runs/run-waiter.ts'
import { actionsService } from './service.ts'
import { openStores } from './store.open.ts'

await run('actions', variables, async (runtime) => {
  const { config, log, metrics: instruments } = runtime
  checkConfig(config)
  const own = identity('actions', config)
  const policy = parsePolicy(config.webhookAllowPrivate)
  if (policy.allow.length > 0) log.warn({ ranges: config.webhookAllowPrivate }, 'webhooks may go to addresses that are not public')
  const stores = await openStores(runtime)
  const channelTo = channels(runtime, own)
  const claims = grpcClaims(channelTo('idempotency', config.idempotencyAddress))
  const { connections, providers } = connectionsThroughOauth(runtime, channelTo, config.oauthAddress)
  const verifier = followAccess(runtime, own, { address: config.accessAddress })
  const { denials, relay } = auditing(runtime, appendClient(verifier.access))
  const keyring = signatureKeyring(config, verifier, runtime)!
  const signingKeys = (workspace: string, signal: AbortSignal) => keyring.soon('outbound', workspace, signal)
  const webhook = { signingKeys, defaultUrl: config.webhookUrl, policy, timeoutMs: config.webhookMs }
  const catalog = new Catalog(builtinActions({ webhook, connections, ...apis(config), counts: outgoingMetrics(instruments) }), providers)
  const { store, settlements } = stores.acting(relay(stores.reserved))
  const metrics = new ActionMetrics(instruments, store, catalog.list())
  const waiter = new RunWaiter((runId) => store.findEndedRun(runId))
  const leaseMs = config.runLeaseMs
  const outbox = new Outbox({ store, claims, log, intervalMs: config.outboxMs, strandedAfterMs: config.runActMs + leaseMs })
  const executor = new RunExecutor({ store, catalog, outbox, waiter, metrics, log, leaseMs, actMs: config.runActMs })
  const reconciler = new Reconciler({
    store,
    executor,
    metrics,
    log,
    leaseMs,
    intervalMs: config.reconcileMs,
    keepPreviewsMs: config.previewMs,
  })
  outbox.start()
  runtime.onStop('outbox', () => outbox.stop())
  runtime.onStop('runs in progress', () => executor.drain())
  runtime.mayTake('runs', config.runActMs)
  reconciler.start()
  runtime.onStop('reconciler', () => reconciler.stop())
  const previews = new Previews({ catalog, store, connections, ttlMs: config.previewMs })
  const execution = new Execution({ store, claims, catalog, connections, executor, waiter, leaseMs, waitMs: config.waitMs })
  const service = actionsService({ enabled: config.enabled, catalog, previews, execution, runs: stores.runs, settlements, metrics })
  const health = new Health({ services: ['relay.actions.v1.ActionsService'], checks: { postgres: stores.ping } })
  return serveGrpc(runtime, { services: [service], verifier, tls: own.tls, denials, health })
})
