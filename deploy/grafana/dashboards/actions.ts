/** Actions and providers: runs, deliveries, connected accounts and idempotency. */
import { dashboard } from './dashboard.ts'
import { graph, logs, quantile, stat, traces } from './panel.ts'

const rate = '[$__rate_interval]'
const chosen = 'provider=~"$provider",action=~"$action"'

export const actions = dashboard({
  uid: 'relay-actions',
  title: 'Relay: actions and providers',
  description: 'Runs by status and duration; then webhooks, providers, connected accounts and idempotency.',
  variables: [
    { name: 'provider', label: 'Provider', query: 'label_values(action_preview_total, provider)' },
    { name: 'action', label: 'Action', query: 'label_values(action_preview_total{provider=~"$provider"}, action)' },
  ],
  rows: [
    {
      title: 'Runs',
      panels: [
        graph({
          title: 'Runs by status',
          description: 'Failed: no effect. Unknown: an operator must find out whether there was an effect.',
          unit: 'ops',
          queries: [{ expr: `sum by (status) (rate(action_exec_total{${chosen}}${rate}))`, legend: '{{status}}' }],
          stacked: true,
        }),
        graph({
          title: 'Failed and unknown, by reason',
          description: 'Reasons are listed in docs/errors.md.',
          unit: 'ops',
          queries: [{ expr: `sum by (action, reason) (rate(action_error_total{${chosen}}${rate}))`, legend: '{{action}} {{reason}}' }],
        }),
        graph({
          title: 'Run duration, P95',
          description: 'Click a point to open the trace of that run. Limit for webhook.save: 1.2 s.',
          unit: 's',
          exemplars: true,
          queries: [{ expr: quantile(0.95, 'action_latency_seconds', chosen, 'action'), legend: '{{action}}' }],
          thresholds: [{ from: 1.2, color: 'red' }],
        }),
        stat({
          title: 'Unknown outcomes, 24 h',
          description: 'An operator must find out what happened in each.',
          unit: 'short',
          width: 6,
          queries: [{ expr: `sum(increase(action_exec_total{status="unknown",${chosen}}[1d]))`, legend: '' }],
          thresholds: [{ from: 1, color: 'red' }],
        }),
        stat({
          title: 'Runs taken over, 24 h',
          description: 'By the reconciler, after their owner was lost.',
          unit: 'short',
          width: 6,
          queries: [{ expr: `sum(increase(action_taken_over_total{${chosen}}[1d]))`, legend: '' }],
        }),
        stat({
          title: 'Replays, 24 h',
          description: 'Execute requests answered from an earlier run.',
          unit: 'short',
          width: 6,
          queries: [{ expr: `sum(increase(action_replay_total{${chosen}}[1d]))`, legend: '' }],
        }),
        stat({
          title: 'Unreported runs',
          description: 'Finished runs not yet reported to the idempotency service.',
          unit: 'short',
          width: 6,
          queries: [{ expr: 'max(action_outbox_backlog)', legend: '' }],
          thresholds: [
            { from: 100, color: 'yellow' },
            { from: 500, color: 'red' },
          ],
        }),
        graph({
          title: 'Previews, runs and replays',
          description: 'Many previews and few runs: users change their minds, or clients fail to execute.',
          unit: 'ops',
          queries: [
            { expr: `sum(rate(action_preview_total{${chosen}}${rate}))`, legend: 'previews' },
            { expr: `sum(rate(action_exec_total{${chosen}}${rate}))`, legend: 'runs' },
            { expr: `sum(rate(action_replay_total{${chosen}}${rate}))`, legend: 'replays' },
            { expr: `sum(rate(action_taken_over_total{${chosen}}${rate}))`, legend: 'taken over' },
          ],
        }),
        traces({
          title: 'Failed and unknown runs',
          description: 'Newest traces of runs that failed or have an unknown outcome.',
          width: 16,
          query: '{ span.relay.action =~ "$action" && span.relay.run_status =~ "failed|unknown" }',
        }),
      ],
    },
    {
      title: 'Webhooks and providers',
      panels: [
        graph({
          title: 'Webhook deliveries',
          description: 'By outcome.',
          unit: 'ops',
          queries: [{ expr: `sum by (outcome) (rate(webhook_attempts_total${rate}))`, legend: '{{outcome}}' }],
        }),
        graph({
          title: 'Webhook delivery duration',
          description: 'From the DNS lookup to the end of the response: mostly the time of the receiver.',
          unit: 's',
          queries: [0.5, 0.95, 0.99].map((of) => ({
            expr: quantile(of, 'webhook_attempt_seconds'),
            legend: `P${of * 100}`,
          })),
          thresholds: [{ from: 1.2, color: 'red' }],
        }),
        graph({
          title: 'Requests to providers',
          description: 'By status class. None: no response.',
          unit: 'reqps',
          queries: [
            {
              expr: `sum by (provider, status_class) (rate(provider_requests_total{provider=~"$provider"}${rate}))`,
              legend: '{{provider}} {{status_class}}',
            },
          ],
        }),
        graph({
          title: 'Provider request duration, P95',
          description: 'One HTTP request; an action makes several.',
          unit: 's',
          queries: [{ expr: quantile(0.95, 'provider_request_seconds', 'provider=~"$provider"', 'provider'), legend: '{{provider}}' }],
        }),
        graph({
          title: 'Outgoing requests',
          description: 'In flight and waiting, and those that were dropped because the queue was full or the wait too long.',
          unit: 'short',
          queries: [
            { expr: 'sum by (queue) (outgoing_in_flight)', legend: '{{queue}} in flight' },
            { expr: 'sum by (queue) (outgoing_queued)', legend: '{{queue}} waiting' },
            { expr: `sum by (queue, reason) (increase(outgoing_queue_rejected_total${rate}))`, legend: '{{queue}} dropped: {{reason}}' },
          ],
        }),
        graph({
          title: 'Outgoing queue wait, P95',
          description: 'Seconds: the maximum is reached, or one workspace has reached its half of it.',
          unit: 's',
          queries: [{ expr: quantile(0.95, 'outgoing_queue_wait_seconds', '', 'queue'), legend: '{{queue}}' }],
        }),
        graph({
          title: 'DNS lookups',
          description: 'By outcome. EAI_AGAIN: the DNS servers do not respond. ENOTFOUND: the name does not exist.',
          unit: 'ops',
          queries: [{ expr: `sum by (outcome) (rate(dns_lookups_total${rate}))`, legend: '{{outcome}}' }],
        }),
        graph({
          title: 'Token refreshes',
          description: 'By outcome. Reauth: the grant has ended, and the owner must reconnect the account.',
          unit: 'ops',
          queries: [
            {
              expr: `sum by (provider, outcome) (rate(oauth_refreshes_total{provider=~"$provider"}${rate}))`,
              legend: '{{provider}} {{outcome}}',
            },
          ],
        }),
        graph({
          title: 'Token refresh duration, P95',
          description: 'Time of the provider.',
          unit: 's',
          queries: [{ expr: quantile(0.95, 'oauth_refresh_seconds', 'provider=~"$provider"', 'provider'), legend: '{{provider}}' }],
        }),
        graph({
          title: 'Account connection steps',
          description: 'By step and outcome.',
          unit: 'ops',
          queries: [{ expr: `sum by (step, outcome) (rate(oauth_connect_steps_total${rate}))`, legend: '{{step}} {{outcome}}' }],
        }),
        graph({
          title: 'Access tokens returned',
          description: 'By source. Cache is used only while the database is unavailable.',
          unit: 'ops',
          queries: [{ expr: `sum by (source) (rate(oauth_tokens_total${rate}))`, legend: '{{source}}' }],
        }),
        graph({
          title: 'Token revocations',
          description: 'By outcome. Later: tried again. Given up: failed for 24 hours.',
          unit: 'ops',
          queries: [
            {
              expr: `sum by (provider, outcome) (rate(oauth_revocations_total{provider=~"$provider"}${rate}))`,
              legend: '{{provider}} {{outcome}}',
            },
            { expr: `sum(rate(oauth_revocations_given_up_total${rate}))`, legend: 'given up' },
          ],
        }),
        stat({
          title: 'Revocations pending',
          description: 'Token revocations that have not succeeded yet.',
          unit: 'short',
          width: 4,
          queries: [{ expr: 'max(oauth_revocations_pending)', legend: '' }],
        }),
        stat({
          title: 'Client credentials rejected',
          description: 'On: the provider rejects our client id or secret.',
          unit: 'bool_on_off',
          width: 4,
          queries: [{ expr: 'max by (provider) (oauth_client_rejected)', legend: '{{provider}}' }],
          thresholds: [{ from: 1, color: 'red' }],
        }),
        stat({
          title: 'Decryption failures, 24 h',
          description: 'Stored tokens that could not be decrypted: a key is missing, or someone changed the database.',
          unit: 'short',
          width: 4,
          queries: [{ expr: 'sum by (reason) (increase(oauth_decrypt_failures_total[1d]))', legend: '{{reason}}' }],
          thresholds: [{ from: 1, color: 'red' }],
        }),
      ],
    },
    {
      title: 'Idempotency',
      panels: [
        graph({
          title: 'Claims by outcome',
          description: 'Mismatch: the key was used for another request. Taken over: the previous owner was lost.',
          unit: 'ops',
          queries: [{ expr: `sum by (outcome) (rate(idempotency_claims_total${rate}))`, legend: '{{outcome}}' }],
        }),
        graph({
          title: 'Expired claims',
          description: 'Claims in flight whose lease has expired.',
          unit: 'short',
          queries: [{ expr: 'max(idempotency_expired_claims)', legend: 'claims' }],
        }),
        graph({
          title: 'Oldest expired claim',
          description: 'Time since its lease expired.',
          unit: 's',
          queries: [{ expr: 'max(idempotency_oldest_expired_seconds)', legend: 'oldest' }],
          thresholds: [{ from: 300, color: 'red' }],
        }),
        graph({
          title: 'Fenced writes',
          description: 'Writes rejected because another attempt owns the claim. Harmless; many mean that leases are too short.',
          unit: 'ops',
          queries: [{ expr: `sum by (operation) (rate(idempotency_fenced_total${rate}))`, legend: '{{operation}}' }],
        }),
        graph({
          title: 'Run report lag',
          description: 'Time since the oldest run that is not yet reported to the idempotency service finished.',
          unit: 's',
          queries: [{ expr: 'max(action_outbox_lag_seconds)', legend: 'oldest' }],
          thresholds: [{ from: 60, color: 'red' }],
        }),
        graph({
          title: 'Takeovers and heartbeat gaps',
          description: 'Runs taken over, late outcomes of their previous owners, and times that the database could not be written to.',
          unit: 'short',
          queries: [
            { expr: `sum by (action) (increase(action_taken_over_total{${chosen}}${rate}))`, legend: '{{action}} taken over' },
            {
              expr: `sum by (action, status) (increase(action_late_outcome_total{${chosen}}${rate}))`,
              legend: '{{action}} late {{status}}',
            },
            { expr: `sum by (service) (increase(heartbeat_gaps_total${rate}))`, legend: '{{service}} heartbeat gaps' },
          ],
        }),
        graph({
          title: 'Retention lag',
          description: 'Time since a replica last removed all runs and run details that were due.',
          unit: 's',
          queries: [{ expr: 'min by (service) (action_retention_lag_seconds)', legend: '{{service}}' }],
          thresholds: [{ from: 21_600, color: 'red' }],
        }),
        logs({
          title: 'Reconciled runs',
          description: 'Log lines with the run, its workspace and its status.',
          width: 8,
          query: '{service="actions"} |= "reconciled a lost run" | json',
        }),
      ],
    },
  ],
})
