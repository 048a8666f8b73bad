/** The metrics of the access service. */
import type { Metrics } from '#mesh/telemetry/metrics.ts'

export type Instruments = ReturnType<typeof instruments>

/** `services`: the names of the services whose acts the audit log accepts. */
export const instruments = (metrics: Metrics, services: readonly string[] = []) => ({
  exchanges: metrics.counter('access_exchanges_total', 'Attempts to exchange an API key for a caller token, by outcome', {
    outcome: ['granted', 'sign_in_limited', 'key_malformed', 'key_unknown', 'key_revoked', 'key_expired', 'source_refused'],
  }),
  keys: metrics.counter('access_key_changes_total', 'Changes to API keys', { change: ['created', 'rotated', 'revoked'] }),
  auditEvents: metrics.counter(
    'audit_events_total',
    'Audit events received, by originating service and outcome; repeated: received again',
    {
      service: services,
      outcome: ['success', 'failed', 'unknown', 'refused', 'repeated'],
    },
  ),
  auditAppend: metrics.histogram('audit_append_seconds', 'Duration of appending a batch of audit events'),
})
