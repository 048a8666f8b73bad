/** What the oauth service counts. */
import type { Metrics } from '#mesh/telemetry/metrics.ts'
import { refusals } from './connect/pages.ts'

export type Instruments = ReturnType<typeof instruments>

/** By step of connecting an account: what may become of it. */
export const stepOutcomes = {
  authorize: ['begun'],
  start: ['shown', ...refusals],
  continue: ['sent', ...refusals],
  callback: ['connected', 'reconsent', ...refusals],
} as const

function connectSteps(metrics: Metrics) {
  const steps = metrics.counter('oauth_connect_steps_total', 'Steps of connecting, by what became of them', ['step', 'outcome'])
  for (const [step, outcomes] of Object.entries(stepOutcomes)) for (const outcome of outcomes) steps.inc({ step, outcome }, 0)
  return steps
}

/** `providers`: the names of those that are known here. */
export const instruments = (metrics: Metrics, providers: readonly string[] = []) => ({
  steps: connectSteps(metrics),
  refreshes: metrics.counter('oauth_refreshes_total', 'Refreshes of tokens at a provider, by what came of them', {
    provider: providers,
    outcome: ['refreshed', 'late', 'reauth', 'alarm', 'limited', 'busy', 'unreachable', 'unreadable', 'foreign', 'other'],
  }),
  refreshSeconds: metrics.seconds('oauth_refresh_seconds', 'How long providers take to refresh', { provider: providers }),
  tokens: metrics.counter('oauth_tokens_total', 'Tokens handed out, by where they came from', { from: ['provider', 'database', 'cache'] }),
  clientRefused: metrics.gauge('oauth_client_refused', '1 while the provider does not accept us as its client', { provider: providers }),
  vaultRefused: metrics.counter('oauth_vault_refused_total', 'Sealed values that could not be opened where they were found', {
    reason: ['unreadable', 'swapped'],
  }),
  revocations: metrics.counter('oauth_revocations_total', 'Attempts to have a provider forget a token, by what came of them', {
    provider: providers,
    outcome: ['revoked', 'unsupported', 'refused', 'shared', 'unreadable', 'later'],
  }),
  revocationsGivenUp: metrics.counter('oauth_revocations_given_up_total', 'Tokens that a provider could not be told to forget for a day'),
  cacheFailures: metrics.counter('oauth_cache_failures_total', 'Times that Redis did not answer as the token cache'),
})
