/** relay.ratelimit.v1: messages ⇄ domain. */
import { type CheckResponse, type Decision as DecisionMessage, RateLimitServiceService, Source } from '#gen/relay/ratelimit/v1/ratelimit.ts'
import { served } from '#mesh/grpc/server.ts'
import { annotate } from '#mesh/telemetry/scope.ts'
import type { LimitDecision, RateLimiter } from './limiter.ts'

const sources = { redis: Source.SOURCE_REDIS, in_process: Source.SOURCE_IN_PROCESS, fallback: Source.SOURCE_FALLBACK } as const

export function rateLimitService(parts: { limiter: RateLimiter; onDecided: (decided: LimitDecision, hits: number) => void }) {
  return served(RateLimitServiceService, {
    async check({ domain, descriptors, hits: asked }): Promise<CheckResponse> {
      const hits = asked === 0 ? 1 : asked
      annotate({ workspace: descriptors[0]?.entries.find(({ key }) => key === 'workspace')?.value })
      const decided = await parts.limiter.decide(
        domain,
        descriptors.map(({ entries }) => entries),
        hits,
      )
      parts.onDecided(decided, hits)
      return { granted: decided.granted, decisions: messages(decided) }
    },
  })
}

function messages({ decisions, source }: LimitDecision): DecisionMessage[] {
  const unlimited = { limited: false, granted: 0, limit: 0, remaining: 0, windowSeconds: 0, resetMs: 0, source: Source.SOURCE_UNSPECIFIED }
  return decisions.map((decision) => {
    if (decision === undefined || source === undefined) return unlimited
    const { granted, limit, remaining, windowMs, resetMs } = decision
    return { limited: true, granted, limit, remaining, windowSeconds: windowMs / 1000, resetMs, source: sources[source] }
  })
}
