/** The metrics of the idempotency service. */
import type { Metrics } from '#mesh/telemetry/metrics.ts'

export type Instruments = ReturnType<typeof instruments>

export const instruments = (metrics: Metrics) => ({
  claims: metrics.counter('idempotency_claims_total', 'Claims by outcome', {
    outcome: ['granted', 'taken_over', 'completed', 'in_flight', 'mismatch', 'absent'],
  }),
  fenced: metrics.counter('idempotency_fenced_total', 'Writes rejected because another attempt owns the claim', {
    operation: ['renew', 'complete', 'release'],
  }),
  reaped: metrics.counter('idempotency_reaped_total', 'Completed claims removed after their retention period'),
  expiredClaims: metrics.gauge('idempotency_expired_claims', 'Claims in flight whose lease has expired'),
  oldestExpired: metrics.gauge('idempotency_oldest_expired_seconds', 'Time since the oldest of those leases expired'),
})
