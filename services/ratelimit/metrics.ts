/** The metrics of the ratelimit service. */
import type { Metrics } from '#mesh/telemetry/metrics.ts'
import type { LimitDecision } from './limiter.ts'
import type { FallbackReason } from './store.ts'

export interface RateLimitMetrics {
  decided(decided: LimitDecision, hits: number): void
  fellBack(reason: FallbackReason): void
}

/** `up` says whether decisions come from the configured backend. */
export function rateLimitMetrics(metrics: Metrics, up: () => boolean): RateLimitMetrics {
  const decisions = metrics.counter('ratelimit_decisions_total', 'Rate limit decisions by source and outcome', {
    source: ['redis', 'in_process', 'fallback', 'no_rule'],
    outcome: ['granted', 'refused', 'partly'],
  })
  const fallbacks = metrics.counter('ratelimit_fallback_total', 'Decisions made without the configured Redis', {
    reason: ['timeout', 'error', 'open'],
  })
  metrics.gauge('ratelimit_backend_up', '1 while decisions come from the configured backend', [], (gauge) => gauge.set(up() ? 1 : 0))
  return {
    decided: ({ granted, source }, hits) =>
      decisions.inc({ source: source ?? 'no_rule', outcome: granted === hits ? 'granted' : granted === 0 ? 'refused' : 'partly' }),
    fellBack: (reason) => fallbacks.inc({ reason }),
  }
}
