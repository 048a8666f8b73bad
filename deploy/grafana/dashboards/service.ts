/** One service: the calls it handles, the calls it makes, and its resources. */
import { dashboard } from './dashboard.ts'
import { alerts, graph, logs, quantile, stat, traces } from './panel.ts'

const rate = '[$__rate_interval]'
const own = 'service=~"$service"'
const process = 'job="relay",service=~"$service"'

export const service = dashboard({
  uid: 'relay-service',
  title: 'Relay: one service',
  description: 'Rate, errors and duration of handled and outgoing calls; then the resources of its processes.',
  variables: [{ name: 'service', label: 'Service', query: 'label_values(up{job="relay"}, service)' }],
  rows: [
    {
      title: 'Processes',
      panels: [
        stat({
          title: 'Replicas up',
          description: 'Processes that Prometheus can scrape.',
          unit: 'short',
          width: 6,
          queries: [{ expr: `sum by (service) (up{${process}})`, legend: '{{service}}' }],
        }),
        stat({
          title: 'Uptime',
          description: 'Of the youngest replica.',
          unit: 's',
          width: 6,
          queries: [{ expr: `time() - max by (service) (process_start_time_seconds{${process}})`, legend: '{{service}}' }],
        }),
        stat({
          title: 'Versions',
          description: 'Replicas per version. More than one version: a deployment is in progress, or stuck.',
          unit: 'short',
          width: 6,
          queries: [{ expr: `count by (version, commit) (relay_build_info{${own}})`, legend: '{{version}} {{commit}}' }],
        }),
        stat({
          title: 'Restarts, 24 h',
          description: 'All replicas.',
          unit: 'short',
          width: 6,
          queries: [{ expr: `sum by (service) (changes(process_start_time_seconds{${process}}[1d]))`, legend: '{{service}}' }],
        }),
      ],
    },
    {
      title: 'Handled calls',
      panels: [
        graph({
          title: 'Calls',
          description: 'gRPC calls by method. For the gateway, see the mesh overview.',
          unit: 'reqps',
          queries: [{ expr: `sum by (grpc_method) (rate(grpc_server_handled_total{${own}}${rate}))`, legend: '{{grpc_method}}' }],
        }),
        graph({
          title: 'Calls with an error',
          description: 'By method and status code. Server errors are UNKNOWN, INTERNAL, UNAVAILABLE, DEADLINE_EXCEEDED and DATA_LOSS.',
          unit: 'reqps',
          queries: [
            {
              expr: `sum by (grpc_method, grpc_code) (rate(grpc_server_handled_total{${own},grpc_code!="OK"}${rate}))`,
              legend: '{{grpc_method}} {{grpc_code}}',
            },
          ],
        }),
        graph({
          title: 'Call duration, P99',
          description: 'Click a point to open the trace of that call.',
          unit: 's',
          exemplars: true,
          queries: [{ expr: quantile(0.99, 'grpc_server_handling_seconds', own, 'grpc_method'), legend: '{{grpc_method}}' }],
        }),
      ],
    },
    {
      title: 'Outgoing calls',
      panels: [
        graph({
          title: 'Calls to other services',
          description: 'By service and method.',
          unit: 'reqps',
          queries: [
            {
              expr: `sum by (grpc_service, grpc_method) (rate(grpc_client_handled_total{${own}}${rate}))`,
              legend: '{{grpc_service}}/{{grpc_method}}',
            },
          ],
        }),
        graph({
          title: 'Failed calls to other services',
          description: 'As seen by this service, including calls that never reached the other side.',
          unit: 'reqps',
          queries: [
            {
              expr: `sum by (grpc_method, grpc_code) (rate(grpc_client_handled_total{${own},grpc_code!="OK"}${rate}))`,
              legend: '{{grpc_method}} {{grpc_code}}',
            },
          ],
        }),
        graph({
          title: 'Duration of calls to other services, P99',
          description: 'Including the network.',
          unit: 's',
          queries: [{ expr: quantile(0.99, 'grpc_client_handling_seconds', own, 'grpc_method'), legend: '{{grpc_method}}' }],
        }),
      ],
    },
    {
      title: 'Resources',
      panels: [
        graph({
          title: 'CPU',
          description: 'Cores by replica, and the part spent in the kernel.',
          unit: 'short',
          queries: [
            { expr: `rate(process_cpu_seconds_total{${process}}${rate})`, legend: '{{instance}}' },
            { expr: `rate(process_cpu_system_seconds_total{${process}}${rate})`, legend: '{{instance}} kernel' },
          ],
          thresholds: [{ from: 0.9, color: 'red' }],
        }),
        graph({
          title: 'Event loop delay',
          description: 'Median and P99.',
          unit: 's',
          queries: [
            { expr: `nodejs_eventloop_lag_p50_seconds{${process}}`, legend: '{{instance}} P50' },
            { expr: `nodejs_eventloop_lag_p99_seconds{${process}}`, legend: '{{instance}} P99' },
          ],
          thresholds: [{ from: 0.1, color: 'red' }],
        }),
        graph({
          title: 'Garbage collection',
          description: 'Share of time, by kind. Much `major` with a full heap indicates a leak.',
          unit: 'percentunit',
          queries: [
            { expr: `sum by (instance, kind) (rate(nodejs_gc_duration_seconds_sum{${process}}${rate}))`, legend: '{{instance}} {{kind}}' },
          ],
        }),
        graph({
          title: 'Memory',
          description: 'Resident memory and JavaScript heap.',
          unit: 'bytes',
          queries: [
            { expr: `process_resident_memory_bytes{${process}}`, legend: '{{instance}} resident' },
            { expr: `nodejs_heap_size_used_bytes{${process}}`, legend: '{{instance}} heap' },
          ],
          thresholds: [{ from: 150e6, color: 'red' }],
        }),
        graph({
          title: 'Postgres connections',
          description: 'Waiting is normally 0; otherwise the pool or the database is too small.',
          unit: 'short',
          queries: [{ expr: `sum by (service, state) (postgres_pool_connections{${own}})`, legend: '{{service}} {{state}}' }],
        }),
        graph({
          title: 'Open files',
          description: 'Share of the limit.',
          unit: 'percentunit',
          queries: [{ expr: `process_open_fds{${process}} / process_max_fds{${process}}`, legend: '{{instance}}' }],
          thresholds: [{ from: 0.8, color: 'red' }],
        }),
      ],
    },
    {
      title: 'Alerts, traces and logs',
      panels: [
        alerts({ title: 'Firing alerts', description: 'Alerts of this service.', query: ',service=~"$service"' }),
        graph({
          title: 'Trace spans',
          description: 'By export outcome. Lost spans make traces incomplete; requests are not affected.',
          unit: 'ops',
          queries: [{ expr: `sum by (service, outcome) (rate(otel_spans_total{${own}}${rate}))`, legend: '{{service}} {{outcome}}' }],
        }),
        graph({
          title: 'Undelivered audit events',
          description: 'Pending: not yet delivered to access. Dead letters: rejected by access.',
          unit: 'short',
          queries: [
            { expr: `max by (service) (audit_outbox_backlog{${own}})`, legend: '{{service}} pending' },
            { expr: `max by (service) (audit_outbox_dead_letters{${own}})`, legend: '{{service}} dead letters' },
          ],
        }),
        traces({
          title: 'Slow or failed spans',
          description: 'Newest spans of this service that failed or took more than 500 ms.',
          query: '{ resource.service.name =~ "$service" && (status = error || duration > 500ms) }',
        }),
        logs({
          title: 'Warnings and errors',
          description: 'Click a trace_id to open the trace.',
          query: '{service=~"$service"} | json | level=~"warn|error|fatal"',
        }),
      ],
    },
  ],
})
