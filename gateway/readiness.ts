/** What /ready gathers: every service by its gRPC health, and Redis by PING. */
import { Health } from '#mesh/grpc/health.ts'
import type { Upstreams } from './upstreams.ts'

/** How long an answer may take before it counts as none. */
const checkMs = 2000

export interface ReadinessParts {
  upstreams: Upstreams
  /** Services that are reported and never make the gateway unready. */
  optional: readonly string[]
  /** Undefined where none is configured: nothing is missing then. */
  redis: { ping(): Promise<unknown> } | undefined
}

export function readiness({ upstreams, optional, redis }: ReadinessParts): Health {
  const services = [...upstreams].map(([name, channel]) => [name, () => channel.serving(checkMs)] as const)
  return new Health({
    services: [],
    checks: { redis: async () => void (await redis?.ping()), ...Object.fromEntries(services) },
    optional: ['redis', ...optional],
    timeoutMs: checkMs,
  })
}
