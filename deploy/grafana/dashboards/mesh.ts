/** The mesh at a glance: whether it is healthy, and if not, which service is the cause. */
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
  title: 'Relay: mesh overview',
  description: 'Service levels, requests, and the service that causes errors or delays.',
  rows: [
    {
      title: 'Service levels',
      panels: [
        stat({
          title: 'Errors, 1 h',
          description: 'Share of requests with a 5xx response. Limit: 1 %.',
          unit: 'percentunit',
          queries: [{ expr: 'slo:bad:ratio_rate1h{slo="errors"}', legend: '' }],
          thresholds: [
            { from: 0.005, color: 'yellow' },
            { from: 0.01, color: 'red' },
          ],
        }),
        stat({
          title: 'Light requests, P99',
          description: 'Lists, reads of runs, previews. Limit: 50 ms.',
          unit: 's',
          queries: [{ expr: 'relay:http_request_duration_seconds:light_p99_rate5m', legend: '' }],
          thresholds: [
            { from: 0.025, color: 'yellow' },
            { from: 0.05, color: 'red' },
          ],
        }),
        stat({
          title: 'webhook.save, P95',
          description: 'From the start of a run to its end, including the receiver. Limit: 1.2 s.',
          unit: 's',
          queries: [{ expr: 'relay:action_latency_seconds:webhook_p95_rate5m', legend: '' }],
          thresholds: [
            { from: 0.6, color: 'yellow' },
            { from: 1.2, color: 'red' },
          ],
        }),
        stat({
          title: 'Error budget left, 3 days',
          description: 'Share of the budget that is left. Below 0: overspent.',
          unit: 'percentunit',
          width: 8,
          queries: [{ expr: '1 - slo:bad:ratio_rate3d / on (slo) slo:budget:ratio', legend: '{{slo}}' }],
        }),
        stat({
          title: 'Processes up',
          description: 'Share of the targets in targets.yml.',
          unit: 'percentunit',
          queries: [{ expr: 'avg(up{job="relay"})', legend: '' }],
        }),
        graph({
          title: 'Error budget burn rate',
          description: 'Multiple of the allowed share, over one hour. Above 14.4 it pages: the monthly budget lasts two days.',
          unit: 'short',
          width: 16,
          queries: [{ expr: 'slo:bad:ratio_rate1h / on (slo) slo:budget:ratio', legend: '{{slo}}' }],
          thresholds: [
            { from: 1, color: 'yellow' },
            { from: 14.4, color: 'red' },
          ],
        }),
        alerts({ title: 'Firing alerts', description: 'Each has a runbook in docs/runbooks.', query: '' }),
      ],
    },
    {
      title: 'Requests',
      panels: [
        graph({
          title: 'Requests',
          description: 'By route, without probes and scrapes.',
          unit: 'reqps',
          queries: [{ expr: `sum by (method, endpoint) (rate(http_requests_total{${probes}}${rate}))`, legend: '{{method}} {{endpoint}}' }],
        }),
        graph({
          title: 'Client and server errors',
          description: 'By status. 429: rate limited. 409: conflict. 499: the client disconnected. 5xx: our fault.',
          unit: 'reqps',
          queries: [
            { expr: `sum by (status_code) (rate(http_requests_total{status_code=~"[45]..",${probes}}${rate}))`, legend: '{{status_code}}' },
          ],
        }),
        graph({
          title: 'Light requests, duration',
          description: 'Lists, reads of runs, previews. Click a point to open the trace of that request.',
          unit: 's',
          exemplars: true,
          queries: [0.5, 0.99].map((of) => ({
            expr: quantile(of, 'http_request_duration_seconds', light),
            legend: `P${of * 100}`,
          })),
          thresholds: [{ from: 0.05, color: 'red' }],
        }),
        graph({
          title: 'Executes, duration',
          description: 'As the caller sees it, including the provider.',
          unit: 's',
          exemplars: true,
          queries: [0.5, 0.95, 0.99].map((of) => ({
            expr: quantile(of, 'http_request_duration_seconds', 'endpoint="/actions/execute"'),
            legend: `P${of * 100}`,
          })),
        }),
        traces({
          title: 'Failed requests',
          description: 'Newest traces with a 5xx.',
          width: 8,
          query: '{ resource.service.name = "gateway" && kind = server && status = error }',
        }),
        logs({
          title: 'Error logs',
          description: 'All processes.',
          width: 8,
          query: '{service=~".+"} | json | level=~"error|fatal"',
        }),
      ],
    },
    {
      title: 'Services',
      panels: [
        graph({
          title: 'Calls by service',
          description: 'gRPC calls handled by each service.',
          unit: 'reqps',
          queries: [{ expr: `sum by (service) (rate(grpc_server_handled_total${rate}))`, legend: '{{service}}' }],
          links: [toService],
        }),
        graph({
          title: 'Failed calls by service',
          description: 'Server errors only, by service and status code.',
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
          title: 'Call duration by service, P99',
          description: 'Includes the time of the services it calls.',
          unit: 's',
          exemplars: true,
          queries: [{ expr: quantile(0.99, 'grpc_server_handling_seconds', '', 'service'), legend: '{{service}}' }],
          links: [toService],
        }),
      ],
    },
    {
      title: 'Saturation',
      panels: [
        graph({
          title: 'Event loop delay, P99',
          description: 'Above 100 ms, every request in the process is delayed.',
          unit: 's',
          queries: [{ expr: 'max by (service) (nodejs_eventloop_lag_p99_seconds{job="relay"})', legend: '{{service}}' }],
          thresholds: [{ from: 0.1, color: 'red' }],
          links: [toService],
        }),
        graph({
          title: 'CPU',
          description: 'Cores, busiest replica. JavaScript runs on one core.',
          unit: 'short',
          queries: [{ expr: `max by (service) (rate(process_cpu_seconds_total{job="relay"}${rate}))`, legend: '{{service}}' }],
          thresholds: [{ from: 0.9, color: 'red' }],
          links: [toService],
        }),
        graph({
          title: 'Memory',
          description: 'Resident memory, largest replica. Limit: 150 MB.',
          unit: 'bytes',
          queries: [{ expr: 'max by (service) (process_resident_memory_bytes{job="relay"})', legend: '{{service}}' }],
          thresholds: [{ from: 150e6, color: 'red' }],
          links: [toService],
        }),
        graph({
          title: 'Statements waiting for Postgres',
          description: 'Statements waiting for a connection. Normally 0; otherwise the pool or the database is too small.',
          unit: 'short',
          queries: [{ expr: 'max by (service) (postgres_pool_connections{state="waiting"})', legend: '{{service}}' }],
          links: [toService],
        }),
        graph({
          title: 'Rate limit decisions',
          description: 'By source. Fallback: the ratelimit service or its Redis is unavailable.',
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
          title: 'Bytes in flight',
          description: 'Requests and responses, per gateway. From 18 MiB on, requests are rejected.',
          unit: 'bytes',
          queries: [{ expr: 'gateway_bytes_in_flight', legend: '{{instance}}' }],
          thresholds: [{ from: 18 * 1024 * 1024, color: 'red' }],
        }),
        graph({
          title: 'Requests rejected for their size',
          description: 'With 503 OVERLOADED: a key, a workspace or the gateway had too many bytes in flight.',
          unit: 'reqps',
          queries: [{ expr: `sum by (instance) (rate(gateway_overload_rejections_total${rate}))`, legend: '{{instance}}' }],
        }),
        graph({
          title: 'Signature keys',
          description: 'Requests by the key that signed them, and workspaces whose previous key is still accepted.',
          unit: 'short',
          queries: [
            { expr: `sum by (key) (increase(http_signatures_total${rate}))`, legend: 'signed with {{key}}' },
            { expr: 'max by (purpose) (signature_key_overlaps)', legend: '{{purpose}} overlaps' },
          ],
        }),
        graph({
          title: 'Delivery lag',
          description: 'Age of the oldest undelivered run report, audit event, and key update.',
          unit: 's',
          queries: [
            { expr: 'max(action_outbox_lag_seconds)', legend: 'run reports' },
            { expr: 'max by (service) (audit_outbox_lag_seconds)', legend: 'audit events of {{service}}' },
            { expr: 'max(access_feed_age_seconds)', legend: 'key updates' },
          ],
          thresholds: [{ from: 60, color: 'red' }],
        }),
      ],
    },
  ],
})
