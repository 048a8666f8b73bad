/** What the idempotency service counts. */
import type { Metrics } from '#mesh/telemetry/metrics.ts'

export type Instruments = ReturnType<typeof instruments>

export const instruments = (metrics: Metrics) => ({
  claims: metrics.counter('idempotency_claims_total', 'Claims by what was answered', {
    outcome: ['granted', 'taken_over', 'completed', 'in_flight', 'mismatch', 'absent'],
  }),
  fenced: metrics.counter('idempotency_fenced_total', 'Writes that were refused since their grant was no longer held', {
    operation: ['renew', 'complete', 'release'],
  }),
  reaped: metrics.counter('idempotency_reaped_total', 'Completed claims that were removed since they no longer answer'),
  lapsed: metrics.gauge('idempotency_lapsed_claims', 'Claims in flight whose lease ran out and that nobody has taken over'),
  oldestLapsed: metrics.gauge('idempotency_oldest_lapsed_seconds', 'How long ago the first of those leases ran out'),
})
