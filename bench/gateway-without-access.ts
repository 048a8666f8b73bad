/**
 * Our gateway without authentication: every request counts as the same caller's, and carries the same token to the services. The difference
 * to the real gateway is the cost of access. bench-mesh.ts starts it with the variables of the gateway, and the key in BENCH_API_KEY.
 */
import type { AddressInfo } from 'node:net'
import { serveAdmin } from '#mesh/admin.ts'
import { formatAddress, secret } from '#mesh/config.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import { followAccess, identity } from '#mesh/identity.ts'
import { run } from '#mesh/serve.ts'
import { CallerTokenSource, type Authenticated, exchangeClient } from '#mesh/token-exchange.ts'
import { createApp, drain } from '../gateway/app.ts'
import { gatewayVariables } from '../gateway/config.ts'
import { Limiter, checkClient } from '../gateway/rate-limit/limiter.ts'
import { readiness } from '../gateway/readiness.ts'
import { addressOf, connect } from '../gateway/upstreams.ts'

/** Well within the lifetime of a token. */
const renewMs = 60_000

const variables = { ...gatewayVariables, apiKey: secret('BENCH_API_KEY', 'The key of the one caller') }

await run('gateway', variables, async (runtime) => {
  const { config, log, metrics } = runtime
  const own = identity('gateway', config)
  const upstreams = connect(config.upstreams, { peerToken: own.peerToken, metrics })
  runtime.onStop('connections to services', () => upstreams.forEach((channel) => channel.close()))
  const verifier = followAccess(runtime, own, { address: addressOf(config.upstreams, 'access') })

  const real = new CallerTokenSource({ exchange: exchangeClient(upstreams.get('access')!) })
  const signedIn = async (): Promise<Authenticated> => {
    const response = await real.caller(config.apiKey.reveal(), ownContext())
    if (response.caller === undefined) throw response.error
    return response
  }
  let same = await signedIn()
  const renewal = setInterval(() => void signedIn().then((fresh) => (same = fresh)), renewMs)
  runtime.onStop('renewal', () => clearInterval(renewal))

  const limiter = new Limiter({ check: checkClient(upstreams.get('ratelimit')!), defaultLimit: config.defaultLimit, log, metrics })
  runtime.onStop('limiter', () => limiter.stop())
  const health = readiness({ upstreams, optional: config.optionalUpstreams, verifier, redis: undefined })
  const admin = await serveAdmin(config.adminListen, { metrics, health })
  runtime.onStop('admin port', () => admin.close())
  const app = await createApp({ config, log, metrics, tokenSource: { caller: () => same }, upstreams, health, limiter })
  await limiter.warm()
  await app.listen({ ...config.httpListen, listenTextResolver: () => 'HTTP is served' })
  runtime.onStop('HTTP server', () => drain(app, runtime.drainMs))
  const { port } = app.server.address() as AddressInfo
  return { http: formatAddress({ ...config.httpListen, port }), admin: formatAddress({ ...config.adminListen, port: admin.port }) }
})
