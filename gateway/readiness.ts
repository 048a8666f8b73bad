/** What /ready gathers: every service by its gRPC health, Redis by PING, and whether callers can be told at all. */
import { Health } from '#mesh/grpc/health.ts'
import type { Verifier } from '#mesh/grpc/caller.ts'
import type { Upstreams } from './upstreams.ts'

/** How long an answer may take before it counts as none. */
const checkMs = 2000

export interface ReadinessParts {
  upstreams: Upstreams
  /** Services that are reported and never make the gateway unready. */
  optional: readonly string[]
  verifier: Pick<Verifier, 'caller'>
  /** Undefined where none is configured: nothing is missing then. */
  redis: { ping(): Promise<unknown> } | undefined
}

/**
 * What only some calls need is reported, and takes nothing from those that do not: without idempotency nothing is executed, while previews,
 * lists and keys go on. Access is optional once it was heard of: while it is away, callers whom we know go on, and a gateway that called itself unready would cut
 * them off too. One that never read its feed can tell nobody, and is not ready: that is the check `signing_keys`.
 */
export function readiness({ upstreams, optional, verifier, redis }: ReadinessParts): Health {
  const services = [...upstreams].map(([name, channel]) => [name, () => channel.serving(checkMs)] as const)
  return new Health({
    services: [],
    checks: {
      redis: async () => void (await redis?.ping()),
      // Nobody's token: undefined where tokens can be told, a rejection where not.
      signing_keys: async () => void (await verifier.caller('')),
      ...Object.fromEntries(services),
    },
    optional: ['redis', ...optional],
    timeoutMs: checkMs,
  })
}
