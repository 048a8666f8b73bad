/** The ratelimit service: backend → limiter → serve. */
import { auditing } from '#mesh/audit.ts'
import { appendClient } from '#mesh/audit/client.ts'
import { Health } from '#mesh/grpc/health.ts'
import { followAccess, identity } from '#mesh/identity.ts'
import { openRedis, redisReady } from '#mesh/redis/redis.ts'
import { run, serveGrpc } from '#mesh/serve.ts'
import { variables } from './config.ts'
import { RateLimiter } from './limiter.ts'
import { rateLimitMetrics } from './metrics.ts'
import { rateLimitService } from './service.ts'
import { MemoryStore } from './store.memory.ts'
import { OpenStore } from './store.open.ts'
import { RedisStore } from './store.redis.ts'

await run('ratelimit', variables, async (runtime) => {
  const { config, log } = runtime
  const { limits, redisUrl, redisLimitMs } = config
  const own = identity('ratelimit', config)
  const now = () => performance.now()
  const redis = redisUrl === undefined ? undefined : openRedis({ url: redisUrl, log, metrics: runtime.metrics, commandMs: 2000 })
  const shared =
    redis === undefined
      ? undefined
      : new OpenStore({
          redis: new RedisStore(redis),
          local: new MemoryStore({ source: 'fallback', now }),
          limitMs: redisLimitMs,
          onFallback: (reason) => metrics.fellBack(reason),
          onChange: (change) =>
            change.closed
              ? log.warn({ unavailable_ms: change.unavailableMs }, 'Redis responds again; limits are shared again')
              : log.warn({ reason: change.reason }, 'Redis does not respond; deciding from in-process buckets'),
        })
  const metrics = rateLimitMetrics(runtime.metrics, () => shared?.up ?? true)
  if (redis !== undefined) {
    runtime.onStop('redis', () => redis.disconnect())
    runtime.onStop('probe', () => shared?.stop())
    await redisReady(redis, 1000)
  }
  log.info({ domains: limits.domains }, shared === undefined ? 'Using in-process backend' : 'Using Redis backend')

  const limiter = new RateLimiter({ limits, store: shared ?? new MemoryStore({ source: 'in_process', now }) })
  const health = new Health({
    services: ['relay.ratelimit.v1.RateLimitService'],
    // If Redis is not configured, nothing is missing.
    checks: { redis: async () => void (await redis?.ping()) },
    optional: ['redis'],
    timeoutMs: 2000,
  })
  const service = rateLimitService({ limiter, onDecided: (decided, hits) => metrics.decided(decided, hits) })
  const verifier = followAccess(runtime, own, { address: config.accessAddress })
  const { denials } = auditing(runtime, appendClient(verifier.access))
  return serveGrpc(runtime, { services: [service], verifier, tls: own.tls, denials, health })
})
