/** The checks of /ready: every service by its gRPC health, Redis by PING, and whether callers can be verified. */
import { Health } from '#mesh/grpc/health.ts'
import type { Verifier } from '#mesh/grpc/caller.ts'
import type { Upstreams } from './upstreams.ts'

/** The timeout of a check. */
const checkMs = 2000

export interface ReadinessParts {
  upstreams: Upstreams
  /** Services that are reported and never make the gateway unready. */
  optional: readonly string[]
  verifier: Pick<Verifier, 'caller'>
  /** Undefined if none is configured: then nothing is missing. */
  redis: { ping(): Promise<unknown> } | undefined
}

/**
 * A service that only some calls need is reported and does not make the gateway unready: without idempotency nothing is executed, while
 * previews, lists and keys continue. Access is optional once its feed was read: while it is unavailable, known callers continue, and an
 * unready gateway would cut them off too. A gateway that never read the feed can verify no caller and is not ready: that is the check
 * `signing_keys`.
 */
export function readiness({ upstreams, optional, verifier, redis }: ReadinessParts): Health {
  const services = [...upstreams].map(([name, channel]) => [name, () => channel.serving(checkMs)] as const)
  return new Health({
    services: [],
    checks: {
      redis: async () => void (await redis?.ping()),
      // No valid token: `verify` returns undefined if tokens can be verified, and rejects if not.
      signing_keys: async () => void (await verifier.caller('')),
      ...Object.fromEntries(services),
    },
    optional: ['redis', ...optional],
    timeoutMs: checkMs,
  })
}
