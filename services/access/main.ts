/** The access service as a process. */
import { keyEnvOf } from '#mesh/api-key.ts'
import { auditing } from '#mesh/audit.ts'
import { Health } from '#mesh/grpc/health.ts'
import { identity } from '#mesh/identity.ts'
import { AccessFeed } from '#mesh/identity/follow.ts'
import { run, serveGrpc } from '#mesh/serve.ts'
import { CallerTokenSource } from '#mesh/token-exchange.ts'
import { signatureKeysOf } from '#mesh/signature-variables.ts'
import { auditService } from './audit/service.ts'
import { auditPipeline } from './audit/audit-pipeline.ts'
import { checkConfig, serviceNames, variables, wrongSecret } from './config.ts'
import { authorizationService } from './envoy/service.ts'
import { keyHash } from './keys/key.ts'
import { Keys } from './keys/keys.ts'
import { LastUsed } from './keys/last-used.ts'
import { keyRetention } from './keys/retention.ts'
import { keysService } from './keys/service.ts'
import { instruments as counted } from './metrics.ts'
import { signaturesService } from './signatures/service.ts'
import { Signatures } from './signatures/signatures.ts'
import { openStores } from './store.postgres.ts'
import { accessService, localExchange, localFollow } from './tokens/service.ts'
import { tokens } from './tokens/tokens.ts'

await run('access', variables, async (runtime) => {
  const { config, log, metrics, onStop } = runtime
  const begin = (parts: Record<string, { start(): void; stop(): Promise<void> } | undefined>) => {
    for (const [what, part] of Object.entries(parts)) {
      part?.start()
      onStop(what, () => part?.stop())
    }
  }
  checkConfig(config)
  const { peers, tls } = identity('access', config)
  const stores = await openStores({ ...config, log, metrics })
  onStop('databases', () => stores.close())

  const [env, hash, instruments] = [
    keyEnvOf(config.environment),
    keyHash(config.pepper.reveal()),
    counted(metrics, [...config.peers.keys()]),
  ]
  const { auditLog, heads, retaining } = auditPipeline({ ...config, ...stores, instruments, log })
  begin({ 'audit heads': heads, 'audit retention': retaining })
  const { denials, relay } = auditing(runtime, (events) => auditLog.append(events))
  const acted = relay(stores.database)

  const lastUsed = new LastUsed({ store: stores.keys, log })
  const signatureKeys = signatureKeysOf(config)
  const parts = { ...config, ...stores, signatureKeys, env, hash, used: lastUsed.note, denials, instruments, log }
  const { exchange, feed, loop } = await tokens(parts).catch(wrongSecret)
  const own = new AccessFeed({ follow: localFollow(feed), log, metrics })
  begin({ 'last used': lastUsed, 'key retention': keyRetention({ ...config, ...stores, log }), 'signing keys': loop, 'own feed': own })

  const verifier = { caller: (token: string) => own.tokens.caller(token), peer: (token: string) => peers.peer(token) }
  const envoy = authorizationService({ tokenSource: new CallerTokenSource({ exchange: localExchange(exchange), verifier, env }), denials })
  const keys = keysService({ keys: new Keys({ store: stores.keys, env, hash }), instruments, acted })
  const signatures = signaturesService({ signatures: new Signatures({ store: stores.signatures, keys: signatureKeys }), acted })
  const services = [accessService({ exchange, feed }), keys, signatures, auditService({ log: auditLog, store: stores.audit }), envoy]
  const health = new Health({ services: serviceNames, checks: { postgres: () => stores.database.ping() } })
  return serveGrpc(runtime, { services, verifier, denials, health, tls })
})
