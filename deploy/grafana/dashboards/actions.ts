/** Actions and providers: what is done in the world, how it ends, and what stands behind it. */
import { dashboard } from './dashboard.ts'
import { graph, logs, quantile, stat, traces } from './panel.ts'

const rate = '[$__rate_interval]'
const chosen = 'provider=~"$provider",action=~"$action"'

export const actions = dashboard({
  uid: 'relay-actions',
  title: 'Relay: actions and providers',
  description: 'Runs by how they end and how long they take; then providers, accounts, claims and what the reconciler found.',
  variables: [
    { name: 'provider', label: 'Provider', query: 'label_values(action_preview_total, provider)' },
    { name: 'action', label: 'Action', query: 'label_values(action_preview_total{provider=~"$provider"}, action)' },
  ],
  rows: [
    {
      title: 'Runs',
      panels: [
        graph({
          title: 'Runs by how they ended',
          description: 'Failed: nothing was done. Unknown: nobody can tell, and a person has to look.',
          unit: 'ops',
          queries: [{ expr: `sum by (status) (rate(action_exec_total{${chosen}}${rate}))`, legend: '{{status}}' }],
          stacked: true,
        }),
        graph({
          title: 'Failed and unknown, by reason',
          description: 'The reasons of services/actions, a closed set.',
          unit: 'ops',
          queries: [{ expr: `sum by (action, reason) (rate(action_error_total{${chosen}}${rate}))`, legend: '{{action}} {{reason}}' }],
        }),
        graph({
          title: 'Time of a run, P95',
          description: 'Points are single runs: a click opens the trace. webhook.save may take 1.2 s.',
          unit: 's',
          exemplars: true,
          queries: [{ expr: quantile(0.95, 'action_latency_seconds', chosen, 'action'), legend: '{{action}}' }],
          thresholds: [{ from: 1.2, color: 'red' }],
        }),
        stat({
          title: 'Unknown outcomes in a day',
          description: 'Each waits for somebody to find out.',
          unit: 'short',
          width: 6,
          queries: [{ expr: `sum(increase(action_exec_total{status="unknown",${chosen}}[1d]))`, legend: '' }],
          thresholds: [{ from: 1, color: 'red' }],
        }),
        stat({
          title: 'Runs taken over in a day',
          description: 'By the reconciler, from holders that were lost.',
          unit: 'short',
          width: 6,
          queries: [{ expr: `sum(increase(action_taken_over_total{${chosen}}[1d]))`, legend: '' }],
        }),
        stat({
          title: 'Replays in a day',
          description: 'Executes that were answered from an earlier run.',
          unit: 'short',
          width: 6,
          queries: [{ expr: `sum(increase(action_replay_total{${chosen}}[1d]))`, legend: '' }],
        }),
        stat({
          title: 'Ends that wait to be told',
          description: 'To the idempotency service.',
          unit: 'short',
          width: 6,
          queries: [{ expr: 'max(action_outbox_backlog)', legend: '' }],
          thresholds: [{ from: 100, color: 'yellow' }, { from: 500, color: 'red' }],
        }),
        graph({
          title: 'Previews, runs and replays',
          description: 'Many previews without runs are people who thought better of it, or clients that cannot go on.',
          unit: 'ops',
          queries: [
            { expr: `sum(rate(action_preview_total{${chosen}}${rate}))`, legend: 'previews' },
            { expr: `sum(rate(action_exec_total{${chosen}}${rate}))`, legend: 'runs' },
            { expr: `sum(rate(action_replay_total{${chosen}}${rate}))`, legend: 'replays' },
            { expr: `sum(rate(action_taken_over_total{${chosen}}${rate}))`, legend: 'taken over' },
          ],
        }),
        traces({
          title: 'Runs that did not succeed',
          description: 'The newest acts that failed or whose outcome is unknown.',
          width: 16,
          query: '{ span.relay.action =~ "$action" && span.relay.run_status =~ "failed|unknown" }',
        }),
      ],
    },
    {
      title: 'Webhooks and providers',
      panels: [
        graph({
          title: 'Deliveries of webhook.save',
          description: 'By what became of each.',
          unit: 'ops',
          queries: [{ expr: `sum by (outcome) (rate(webhook_attempts_total${rate}))`, legend: '{{outcome}}' }],
        }),
        graph({
          title: 'Time of a delivery',
          description: 'From the connection to the answer: the receiver, not us.',
          unit: 's',
          queries: [0.5, 0.95, 0.99].map((of) => ({
            expr: quantile(of, 'webhook_attempt_seconds'),
            legend: `P${of * 100}`,
          })),
          thresholds: [{ from: 1.2, color: 'red' }],
        }),
        graph({
          title: 'Requests to providers',
          description: 'By class of the answer.',
          unit: 'reqps',
          queries: [
            {
              expr: `sum by (provider, status_class) (rate(provider_requests_total{provider=~"$provider"}${rate}))`,
              legend: '{{provider}} {{status_class}}',
            },
          ],
        }),
        graph({
          title: 'Time of a request to a provider, P95',
          description: 'One HTTP request; an action makes several.',
          unit: 's',
          queries: [{ expr: quantile(0.95, 'provider_request_seconds', 'provider=~"$provider"', 'provider'), legend: '{{provider}}' }],
        }),
        graph({
          title: 'Refreshes of tokens',
          description: 'By outcome. Reauth: the owner took the grant back, and has to connect anew.',
          unit: 'ops',
          queries: [
            {
              expr: `sum by (provider, outcome) (rate(oauth_refreshes_total{provider=~"$provider"}${rate}))`,
              legend: '{{provider}} {{outcome}}',
            },
          ],
        }),
        graph({
          title: 'Time of a refresh, P95',
          description: 'At the provider.',
          unit: 's',
          queries: [{ expr: quantile(0.95, 'oauth_refresh_seconds', 'provider=~"$provider"', 'provider'), legend: '{{provider}}' }],
        }),
        graph({
          title: 'Connecting an account',
          description: 'Steps by what became of them.',
          unit: 'ops',
          queries: [{ expr: `sum by (step, outcome) (rate(oauth_connect_steps_total${rate}))`, legend: '{{step}} {{outcome}}' }],
        }),
        graph({
          title: 'Tokens handed out',
          description: 'By where they came from.',
          unit: 'ops',
          queries: [{ expr: `sum by (from) (rate(oauth_tokens_total${rate}))`, legend: '{{from}}' }],
        }),
        stat({
          title: 'Not accepted as a client by',
          description: '1: the provider does not take our client id or secret.',
          unit: 'bool_on_off',
          width: 4,
          queries: [{ expr: 'max by (provider) (oauth_client_refused)', legend: '{{provider}}' }],
          thresholds: [{ from: 1, color: 'red' }],
        }),
        stat({
          title: 'Sealed values refused',
          description: 'In a day. A key is missing, or somebody wrote into the database.',
          unit: 'short',
          width: 4,
          queries: [{ expr: 'sum by (reason) (increase(oauth_vault_refused_total[1d]))', legend: '{{reason}}' }],
          thresholds: [{ from: 1, color: 'red' }],
        }),
      ],
    },
    {
      title: 'Exactly once',
      panels: [
        graph({
          title: 'Claims by what was answered',
          description: 'Mismatch: a key that belongs to another request. Taken over: its holder was lost.',
          unit: 'ops',
          queries: [{ expr: `sum by (outcome) (rate(idempotency_claims_total${rate}))`, legend: '{{outcome}}' }],
        }),
        graph({
          title: 'Claims that nobody holds',
          description: 'Their lease ran out and nobody came for them.',
          unit: 'short',
          queries: [{ expr: 'max(idempotency_lapsed_claims)', legend: 'claims' }],
        }),
        graph({
          title: 'Since when nobody came',
          description: 'How long ago the first of those leases ran out.',
          unit: 's',
          queries: [{ expr: 'max(idempotency_oldest_lapsed_seconds)', legend: 'oldest' }],
          thresholds: [{ from: 300, color: 'red' }],
        }),
        graph({
          title: 'Late writers that were refused',
          description: 'Somebody who had lost the claim meanwhile. It is what the fence is for; many mean that leases are too short.',
          unit: 'ops',
          queries: [{ expr: `sum by (operation) (rate(idempotency_fenced_total${rate}))`, legend: '{{operation}}' }],
        }),
        graph({
          title: 'How long ends wait to be told',
          description: 'The oldest in the outbox to the idempotency service.',
          unit: 's',
          queries: [{ expr: 'max(action_outbox_lag_seconds)', legend: 'oldest' }],
          thresholds: [{ from: 60, color: 'red' }],
        }),
        logs({
          title: 'Runs that were reconciled',
          description: 'With the run, the workspace and how it ended.',
          width: 8,
          query: '{service="actions"} |= "reconciled a lost run" | json',
        }),
      ],
    },
  ],
})
