/** The gateway: HTTP and JSON in front of the mesh. */
import { serveAdmin } from '#mesh/admin.ts'
import { keyEnvOf } from '#mesh/api-key.ts'
import { auditing } from '#mesh/audit.ts'
import { formatAddress } from '#mesh/config.ts'
import { appendClient } from '#mesh/audit/client.ts'
import { methods } from '#mesh/grpc/descriptors.ts'
import { followAccess, identity } from '#mesh/identity.ts'
import { openRedis } from '#mesh/redis/redis.ts'
import { followCertificates, run } from '#mesh/serve.ts'
import { CallerTokenSource, exchangeClient } from '#mesh/token-exchange.ts'
import { signatureKeyring } from '#mesh/signature-variables.ts'
import type { AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { createApp, drain } from './app.ts'
import { checkConfig, gatewayVariables } from './config.ts'
import { Limiter, checkClient } from './rate-limit/limiter.ts'
import { readiness } from './readiness.ts'
import { addressOf, connect } from './upstreams.ts'

await run('gateway', gatewayVariables, async (runtime) => {
  const { config, log, metrics } = runtime
  checkConfig(config)
  const own = identity('gateway', config)

  const upstreams = connect(config.upstreams, { peerToken: own.peerToken, tls: own.tls, metrics })
  if (own.tls !== undefined) followCertificates(runtime, own.tls)
  runtime.onStop('connections to services', () => upstreams.forEach((channel) => channel.close()))

  const verifier = followAccess(runtime, own, { address: addressOf(config.upstreams, 'access') })
  const tokenSource = new CallerTokenSource({ exchange: exchangeClient(verifier.access), verifier, env: keyEnvOf(config.environment) })
  const signatures = signatureKeyring(config, verifier, runtime)
  const { denials } = auditing(runtime, appendClient(verifier.access))

  const redis = config.redisUrl === undefined ? undefined : openRedis({ url: config.redisUrl, log, metrics, commandMs: 2000 })
  if (redis !== undefined) runtime.onStop('redis', () => redis.disconnect())

  const ratelimit = upstreams.get('ratelimit')
  const limiter =
    ratelimit === undefined ? undefined : new Limiter({ check: checkClient(ratelimit), defaultLimit: config.defaultLimit, log, metrics })
  if (limiter !== undefined) runtime.onStop('limiter', () => limiter.stop())

  const health = readiness({ upstreams, optional: config.optionalUpstreams, verifier, redis })
  const admin = await serveAdmin(config.adminListen, { metrics, health })
  runtime.onStop('admin port', () => admin.close())

  const app = await createApp({ config, log, metrics, tokenSource: tokenSource, signatures, denials, upstreams, health, limiter })
  // The first call between two fresh processes takes longer than the timeout of a rate-limit decision.
  await limiter?.warm()
  await app.listen({ ...config.httpListen, listenTextResolver: () => 'HTTP is served' })
  runtime.mayTake('requests', Math.max(...[...methods.values()].map(({ deadlineMs }) => deadlineMs)))
  runtime.onStop('HTTP server', async () => {
    health.drain()
    await pause(config.drainDelayMs)
    if (!(await drain(app, runtime.drainMs))) throw new Error('DRAIN_TIMEOUT passed with requests in flight; they were cut')
  })
  const { port } = app.server.address() as AddressInfo
  return { http: formatAddress({ ...config.httpListen, port }), admin: formatAddress({ ...config.adminListen, port: admin.port }) }
})
