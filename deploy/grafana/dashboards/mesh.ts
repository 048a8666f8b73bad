/** The mesh at a glance: is it well, and if not, where. */
import { dashboard } from './dashboard.ts'
import { alerts, graph, logs, quantile, stat, traces } from './panel.ts'

const probes = 'endpoint!~"/healthz|/ready|/metrics|/version"'
const light = 'endpoint=~"/actions(/preview|/runs.*)?"'
/** What a service answers that is its own fault. */
const ownFault = 'grpc_code=~"UNKNOWN|INTERNAL|UNAVAILABLE|DEADLINE_EXCEEDED|DATA_LOSS"'
const rate = '[$__rate_interval]'
const toService = { title: 'This service', url: '/d/relay-service?var-service=${__field.labels.service}&${__url_time_range}' }

export const mesh = dashboard({
  uid: 'relay-mesh',
  title: 'Relay: the mesh at a glance',
  description: 'What callers get, whether that is within the service levels, and which service it comes from.',
  rows: [
    {
      title: 'Service levels',
      panels: [
        stat({
          title: 'Errors, 1 h',
          description: 'The share of requests that were answered with 5xx. At most 1 %.',
          unit: 'percentunit',
          queries: [{ expr: 'slo:bad:ratio_rate1h{slo="errors"}', legend: '' }],
          thresholds: [{ from: 0.005, color: 'yellow' }, { from: 0.01, color: 'red' }],
        }),
        stat({
          title: 'Light requests, P99',
          description: 'Lists, looks at runs, previews. At most 50 ms.',
          unit: 's',
          queries: [{ expr: 'relay:http_request_seconds:light_p99_rate5m', legend: '' }],
          thresholds: [{ from: 0.025, color: 'yellow' }, { from: 0.05, color: 'red' }],
        }),
        stat({
          title: 'webhook.save, P95',
          description: 'From the start of a run to its end, the receiver included. At most 1.2 s.',
          unit: 's',
          queries: [{ expr: 'relay:action_latency_seconds:webhook_p95_rate5m', legend: '' }],
          thresholds: [{ from: 0.6, color: 'yellow' }, { from: 1.2, color: 'red' }],
        }),
        stat({
          title: 'Budget that is left of three days',
          description: 'Of what may be bad. Below nothing it is overspent.',
          unit: 'percentunit',
          width: 8,
          queries: [{ expr: '1 - slo:bad:ratio_rate3d / on (slo) slo:budget:ratio', legend: '{{slo}}' }],
        }),
        stat({
          title: 'Processes that answer',
          description: 'Of those in targets.yml.',
          unit: 'percentunit',
          queries: [{ expr: 'avg(up{job="relay"})', legend: '' }],
        }),
        graph({
          title: 'How fast the budgets burn',
          description: 'Times the allowed share, over an hour. From 14.4 on it pages: a month is gone in two days.',
          unit: 'short',
          width: 16,
          queries: [{ expr: 'slo:bad:ratio_rate1h / on (slo) slo:budget:ratio', legend: '{{slo}}' }],
          thresholds: [{ from: 1, color: 'yellow' }, { from: 14.4, color: 'red' }],
        }),
        alerts({ title: 'Firing', description: 'Each has a runbook in docs/runbooks, under its name.', query: '' }),
      ],
    },
    {
      title: 'What callers get',
      panels: [
        graph({
          title: 'Requests',
          description: 'By route; without probes and scrapes.',
          unit: 'reqps',
          queries: [{ expr: `sum by (method, endpoint) (rate(http_requests_total{${probes}}${rate}))`, legend: '{{method}} {{endpoint}}' }],
        }),
        graph({
          title: 'Refusals and errors',
          description: 'By status. 429 is a limit, 409 a conflict, 499 a client that did not wait; 5xx is ours.',
          unit: 'reqps',
          queries: [
            { expr: `sum by (status_code) (rate(http_requests_total{status_code=~"[45]..",${probes}}${rate}))`, legend: '{{status_code}}' },
          ],
        }),
        graph({
          title: 'Light requests',
          description: 'Points are single requests: a click opens the trace.',
          unit: 's',
          exemplars: true,
          queries: [0.5, 0.99].map((of) => ({
            expr: quantile(of, 'http_request_seconds', light),
            legend: `P${of * 100}`,
          })),
          thresholds: [{ from: 0.05, color: 'red' }],
        }),
        graph({
          title: 'Executes',
          description: 'As the caller sees them, whatever the provider takes.',
          unit: 's',
          exemplars: true,
          queries: [0.5, 0.95, 0.99].map((of) => ({
            expr: quantile(of, 'http_request_seconds', 'endpoint="/actions/execute"'),
            legend: `P${of * 100}`,
          })),
        }),
        traces({
          title: 'Requests that failed',
          description: 'The newest traces with a 5xx.',
          width: 8,
          query: '{ resource.service.name = "gateway" && kind = server && status = error }',
        }),
        logs({
          title: 'Errors in the logs',
          description: 'Of all processes.',
          width: 8,
          query: '{service=~".+"} | json | level=~"error|fatal"',
        }),
      ],
    },
    {
      title: 'Where it comes from',
      panels: [
        graph({
          title: 'Calls by service',
          description: 'gRPC calls that each service answered.',
          unit: 'reqps',
          queries: [{ expr: `sum by (service) (rate(grpc_server_handled_total${rate}))`, legend: '{{service}}' }],
          links: [toService],
        }),
        graph({
          title: 'Calls that failed in the service',
          description: 'By service and code, without those that were refused for good reason.',
          unit: 'reqps',
          queries: [
            {
              expr: `sum by (service, grpc_code) (rate(grpc_server_handled_total{${ownFault}}${rate}))`,
              legend: '{{service}} {{grpc_code}}',
            },
          ],
          links: [toService],
        }),
        graph({
          title: 'Time in each service, P99',
          description: 'It includes the time of what the service calls.',
          unit: 's',
          exemplars: true,
          queries: [{ expr: quantile(0.99, 'grpc_server_handling_seconds', '', 'service'), legend: '{{service}}' }],
          links: [toService],
        }),
      ],
    },
    {
      title: 'How full it is',
      panels: [
        graph({
          title: 'Event loop, P99',
          description: 'How long a turn waits. From 100 ms on everything in the process is late.',
          unit: 's',
          queries: [{ expr: 'max by (service) (nodejs_eventloop_lag_p99_seconds{job="relay"})', legend: '{{service}}' }],
          thresholds: [{ from: 0.1, color: 'red' }],
          links: [toService],
        }),
        graph({
          title: 'CPU',
          description: 'Cores. A process uses one for JavaScript.',
          unit: 'short',
          queries: [{ expr: `max by (service) (rate(process_cpu_seconds_total{job="relay"}${rate}))`, legend: '{{service}}' }],
          thresholds: [{ from: 0.9, color: 'red' }],
          links: [toService],
        }),
        graph({
          title: 'Memory',
          description: 'Resident, of the largest replica. The release gate allows 150 MB.',
          unit: 'bytes',
          queries: [{ expr: 'max by (service) (process_resident_memory_bytes{job="relay"})', legend: '{{service}}' }],
          thresholds: [{ from: 150e6, color: 'red' }],
          links: [toService],
        }),
        graph({
          title: 'Waiting for Postgres',
          description: 'Statements that wait for a connection. Always nothing, or the pool or the database is too small.',
          unit: 'short',
          queries: [{ expr: 'max by (service) (postgres_pool_connections{state="waiting"})', legend: '{{service}}' }],
          links: [toService],
        }),
        graph({
          title: 'Limits',
          description: 'Decisions by what they rest on. Fallback: the ratelimit service, or its Redis, is away.',
          unit: 'reqps',
          queries: [
            {
              expr: `sum by (source, outcome) (rate(gateway_ratelimit_decisions_total${rate}))`,
              legend: 'gateway: {{source}} {{outcome}}',
            },
            { expr: `sum by (reason) (rate(ratelimit_fallback_total${rate}))`, legend: 'ratelimit without Redis: {{reason}}' },
          ],
        }),
        graph({
          title: 'What waits to be told',
          description: 'The age of the oldest: ends of runs for idempotency, audit events for access, and what access has to tell of keys.',
          unit: 's',
          queries: [
            { expr: 'max(action_outbox_lag_seconds)', legend: 'ends of runs' },
            { expr: 'max by (service) (audit_outbox_lag_seconds)', legend: 'audit events of {{service}}' },
            { expr: 'max(access_feed_age_seconds)', legend: 'keys and revocations' },
          ],
          thresholds: [{ from: 60, color: 'red' }],
        }),
      ],
    },
  ],
})
