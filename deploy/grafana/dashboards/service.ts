/** One service: its calls, those it makes, and what it runs out of. */
import { dashboard } from './dashboard.ts'
import { alerts, graph, logs, quantile, stat, traces } from './panel.ts'

const rate = '[$__rate_interval]'
const own = 'service=~"$service"'
const process = 'job="relay",service=~"$service"'

export const service = dashboard({
  uid: 'relay-service',
  title: 'Relay: one service',
  description: 'Rate, errors and time of its calls and of those that it makes; then what its processes run out of.',
  variables: [{ name: 'service', label: 'Service', query: 'label_values(up{job="relay"}, service)' }],
  rows: [
    {
      title: 'Its processes',
      panels: [
        stat({
          title: 'Replicas that answer',
          description: 'Processes that Prometheus could ask.',
          unit: 'short',
          width: 6,
          queries: [{ expr: `sum by (service) (up{${process}})`, legend: '{{service}}' }],
        }),
        stat({
          title: 'Running since',
          description: 'The age of the youngest replica.',
          unit: 's',
          width: 6,
          queries: [{ expr: `time() - max by (service) (process_start_time_seconds{${process}})`, legend: '{{service}}' }],
        }),
        stat({
          title: 'Versions',
          description: 'How many replicas run which commit; more than one for the time of a deployment.',
          unit: 'short',
          width: 6,
          queries: [{ expr: `count by (version, commit) (relay_build_info{${own}})`, legend: '{{version}} {{commit}}' }],
        }),
        stat({
          title: 'Starts in a day',
          description: 'Of all replicas.',
          unit: 'short',
          width: 6,
          queries: [{ expr: `sum by (service) (changes(process_start_time_seconds{${process}}[1d]))`, legend: '{{service}}' }],
        }),
      ],
    },
    {
      title: 'What it is asked',
      panels: [
        graph({
          title: 'Calls',
          description: 'gRPC calls by method. For the gateway see the mesh.',
          unit: 'reqps',
          queries: [{ expr: `sum by (grpc_method) (rate(grpc_server_handled_total{${own}}${rate}))`, legend: '{{grpc_method}}' }],
        }),
        graph({
          title: 'Calls that did not end with OK',
          description: 'By method and code. Red ones of its own are UNKNOWN, INTERNAL, UNAVAILABLE, DEADLINE_EXCEEDED, DATA_LOSS.',
          unit: 'reqps',
          queries: [
            {
              expr: `sum by (grpc_method, grpc_code) (rate(grpc_server_handled_total{${own},grpc_code!="OK"}${rate}))`,
              legend: '{{grpc_method}} {{grpc_code}}',
            },
          ],
        }),
        graph({
          title: 'Time of a call, P99',
          description: 'Points are single calls: a click opens the trace.',
          unit: 's',
          exemplars: true,
          queries: [{ expr: quantile(0.99, 'grpc_server_handling_seconds', own, 'grpc_method'), legend: '{{grpc_method}}' }],
        }),
      ],
    },
    {
      title: 'What it asks of others',
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
          title: 'Those that failed',
          description: 'As this service saw them: what the other side never saw is here alone.',
          unit: 'reqps',
          queries: [
            {
              expr: `sum by (grpc_method, grpc_code) (rate(grpc_client_handled_total{${own},grpc_code!="OK"}${rate}))`,
              legend: '{{grpc_method}} {{grpc_code}}',
            },
          ],
        }),
        graph({
          title: 'How long they take, P99',
          description: 'With the way there and back.',
          unit: 's',
          queries: [{ expr: quantile(0.99, 'grpc_client_handling_seconds', own, 'grpc_method'), legend: '{{grpc_method}}' }],
        }),
      ],
    },
    {
      title: 'What it runs out of',
      panels: [
        graph({
          title: 'CPU',
          description: 'Cores by replica, and the share of it that is the kernel.',
          unit: 'short',
          queries: [
            { expr: `rate(process_cpu_seconds_total{${process}}${rate})`, legend: '{{instance}}' },
            { expr: `rate(process_cpu_system_seconds_total{${process}}${rate})`, legend: '{{instance}} kernel' },
          ],
          thresholds: [{ from: 0.9, color: 'red' }],
        }),
        graph({
          title: 'Event loop',
          description: 'How long a turn waits: the median and one in a hundred.',
          unit: 's',
          queries: [
            { expr: `nodejs_eventloop_lag_p50_seconds{${process}}`, legend: '{{instance}} P50' },
            { expr: `nodejs_eventloop_lag_p99_seconds{${process}}`, legend: '{{instance}} P99' },
          ],
          thresholds: [{ from: 0.1, color: 'red' }],
        }),
        graph({
          title: 'Garbage collection',
          description: 'Seconds a second, by kind. Much of `major` with a full heap is a leak.',
          unit: 'percentunit',
          queries: [
            { expr: `sum by (instance, kind) (rate(nodejs_gc_duration_seconds_sum{${process}}${rate}))`, legend: '{{instance}} {{kind}}' },
          ],
        }),
        graph({
          title: 'Memory',
          description: 'Resident, and the JavaScript heap in it.',
          unit: 'bytes',
          queries: [
            { expr: `process_resident_memory_bytes{${process}}`, legend: '{{instance}} resident' },
            { expr: `nodejs_heap_size_used_bytes{${process}}`, legend: '{{instance}} heap' },
          ],
          thresholds: [{ from: 150e6, color: 'red' }],
        }),
        graph({
          title: 'Connections to Postgres',
          description: 'Waiting is always nothing, or the pool or the database is too small.',
          unit: 'short',
          queries: [{ expr: `sum by (service, state) (postgres_pool_connections{${own}})`, legend: '{{service}} {{state}}' }],
        }),
        graph({
          title: 'Open files',
          description: 'The share of what the process may open.',
          unit: 'percentunit',
          queries: [{ expr: `process_open_fds{${process}} / process_max_fds{${process}}`, legend: '{{instance}}' }],
          thresholds: [{ from: 0.8, color: 'red' }],
        }),
      ],
    },
    {
      title: 'What it tells of itself',
      panels: [
        alerts({ title: 'Firing', description: 'Those that name this service.', query: ',service=~"$service"' }),
        graph({
          title: 'Spans',
          description: 'By what became of them. Lost ones leave holes in traces and cost requests nothing.',
          unit: 'ops',
          queries: [{ expr: `sum by (service, outcome) (rate(otel_spans_total{${own}}${rate}))`, legend: '{{service}} {{outcome}}' }],
        }),
        graph({
          title: 'Audit events that wait',
          description: 'Until access has taken them. Aside: it will not.',
          unit: 'short',
          queries: [
            { expr: `max by (service) (audit_outbox_backlog{${own}})`, legend: '{{service}} waiting' },
            { expr: `max by (service) (audit_outbox_aside{${own}})`, legend: '{{service}} aside' },
          ],
        }),
        traces({
          title: 'Slow or failed',
          description: 'The newest spans of this service that failed or took more than half a second.',
          query: '{ resource.service.name =~ "$service" && (status = error || duration > 500ms) }',
        }),
        logs({
          title: 'Warnings and errors',
          description: 'A click on trace_id opens the trace.',
          query: '{service=~"$service"} | json | level=~"warn|error|fatal"',
        }),
      ],
    },
  ],
})
