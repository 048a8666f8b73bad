/** What the access service counts. */
import type { Metrics } from '#mesh/telemetry/metrics.ts'

export type Instruments = ReturnType<typeof instruments>

/** `services`: the names of those whose acts are taken into the audit log. */
export const instruments = (metrics: Metrics, services: readonly string[] = []) => ({
  exchanges: metrics.counter('access_exchanges_total', 'API keys that were shown to sign in, by what became of it', {
    outcome: ['granted', 'sign_in_limited', 'key_malformed', 'key_unknown', 'key_revoked', 'key_expired', 'source_refused'],
  }),
  keys: metrics.counter('access_key_changes_total', 'API keys by what became of them', { change: ['created', 'rotated', 'revoked'] }),
  auditEvents: metrics.counter('audit_events_total', 'Events told to the audit log by who acted and how it ended; or repeated', {
    service: services,
    outcome: ['success', 'failed', 'unknown', 'refused', 'repeated'],
  }),
  auditAppend: metrics.seconds('audit_append_seconds', 'How long it takes to add a batch of events to the chains'),
})
