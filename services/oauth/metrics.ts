/** The instruments of the oauth service. */
import { type Backlog, backlogReader } from '#mesh/telemetry/backlog.ts'
import type { Metrics } from '#mesh/telemetry/metrics.ts'
import { pageErrors } from './connect/pages.ts'

export type Instruments = ReturnType<typeof instruments>

/** The outcomes of each step of connecting an account. */
export const stepOutcomes = {
  authorize: ['begun'],
  start: ['shown', ...pageErrors],
  continue: ['sent', ...pageErrors],
  callback: ['connected', 'reconsent', ...pageErrors],
} as const

function connectSteps(metrics: Metrics) {
  const steps = metrics.counter('oauth_connect_steps_total', 'Steps of connecting an account, by outcome', ['step', 'outcome'])
  for (const [step, outcomes] of Object.entries(stepOutcomes)) for (const outcome of outcomes) steps.inc({ step, outcome }, 0)
  return steps
}

/** `providers`: the names of the known providers. */
export const instruments = (metrics: Metrics, providers: readonly string[] = []) => ({
  steps: connectSteps(metrics),
  refreshes: metrics.counter('oauth_refreshes_total', 'Token refreshes at a provider, by outcome', {
    provider: providers,
    outcome: [
      'refreshed',
      'fenced',
      'reauth',
      'invalid_client',
      'rate_limited',
      'server_error',
      'unreachable',
      'unreadable',
      'issuer_mismatch',
      'other',
    ],
  }),
  refreshSeconds: metrics.histogram('oauth_refresh_seconds', 'Duration of a token refresh at the provider', { provider: providers }),
  tokens: metrics.counter('oauth_tokens_total', 'Access tokens returned to callers, by source', {
    source: ['provider', 'database', 'cache'],
  }),
  clientRejected: metrics.gauge('oauth_client_rejected', '1 while the provider rejects our client credentials', { provider: providers }),
  decryptFailures: metrics.counter('oauth_decrypt_failures_total', 'Stored tokens that could not be decrypted, by reason', {
    reason: ['unreadable', 'context_mismatch'],
  }),
  revocations: metrics.counter('oauth_revocations_total', 'Token revocation attempts at a provider, by outcome', {
    provider: providers,
    outcome: ['revoked', 'unsupported', 'refused', 'shared', 'unreadable', 'later'],
  }),
  revocationsGivenUp: metrics.counter('oauth_revocations_given_up_total', 'Token revocations that failed for 24 hours and were given up'),
  heartbeatGaps: metrics.counter('heartbeat_gaps_total', 'Times that no replica could write its heartbeat to the database'),
  cacheFailures: metrics.counter('oauth_cache_failures_total', 'Token cache operations that failed because Redis did not respond'),
})

/** The gauges of pending revocations. `look` reads the store. */
export function showPendingRevocations(metrics: Metrics, look: () => Promise<Backlog>): void {
  const read = backlogReader(look, { count: 0, lagMs: 0 })
  metrics.gauge('oauth_revocations_pending', 'Token revocations that have not succeeded yet', [], async (gauge) =>
    gauge.set((await read()).count),
  )
  metrics.gauge('oauth_revocations_lag_seconds', 'Time since the oldest of these was requested', [], async (gauge) =>
    gauge.set((await read()).lagMs / 1000),
  )
}
