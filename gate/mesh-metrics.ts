/** What the processes of the mesh counted during the load, from their metrics before, during and after it. Pure. */
import type { Series } from './exposition.ts'
import { type Histogram, between, histogramOf, sum } from './histogram.ts'
import { lightEndpoints } from './workload.ts'

/** The series of each process by name, without processes that did not respond. */
export type Snapshot = ReadonlyMap<string, readonly Series[]>

export interface ProcessMetrics {
  name: string
  /** The number of snapshots, and how many of them it did not respond to. */
  looks: number
  missed: number
  /** Its start time changed: it is a different process. */
  restarts: number
  /** The maximum resident memory seen, in bytes; NaN without any. */
  peakResident: number
  /** Undefined unless it was the same process throughout. */
  cpuSeconds: number | undefined
}

export interface MeshMetrics {
  processes: readonly ProcessMetrics[]
  /** As counted by the gateways, for all callers, without their own endpoints. Undefined if none ran throughout. */
  requests: number | undefined
  serverErrors: number
  /** In seconds, as measured by the gateways. */
  light: Histogram
  /** From the start of a run of webhook.save to its end, in seconds, as measured by the services that ran it. */
  webhook: Histogram
}

const gauge = (all: readonly Series[] | undefined, name: string): number | undefined => all?.find((series) => series.name === name)?.value

/** The gateway's own endpoints are not use of Relay. */
const ownEndpoints: ReadonlySet<string> = new Set(['/ready', '/healthz', '/version', '/metrics', '/openapi.json', '/docs', '/'])

function requestsIn(all: readonly Series[], wanted: (labels: Series['labels']) => boolean): number {
  return all
    .filter(({ name, labels }) => name === 'http_requests_total' && !ownEndpoints.has(labels['endpoint'] ?? '') && wanted(labels))
    .reduce((total, { value }) => total + value, 0)
}

function processMetrics(name: string, looks: readonly (readonly Series[] | undefined)[]): ProcessMetrics {
  const starts = looks.flatMap((all) => gauge(all, 'process_start_time_seconds') ?? [])
  const resident = looks.flatMap((all) => gauge(all, 'process_resident_memory_bytes') ?? [])
  const [first, last] = [looks[0], looks.at(-1)].map((all) => gauge(all, 'process_cpu_seconds_total'))
  const restarts = starts.filter((start, index) => index > 0 && start !== starts[index - 1]).length
  return {
    name,
    looks: looks.length,
    missed: looks.filter((all) => all === undefined).length,
    restarts,
    peakResident: resident.length === 0 ? Number.NaN : Math.max(...resident),
    cpuSeconds: restarts > 0 || first === undefined || last === undefined ? undefined : last - first,
  }
}

/** `names` are the processes that must exist; `snapshots` in order, the first from before the load and the last from after it. */
export function meshSeen(names: readonly string[], snapshots: readonly Snapshot[]): MeshMetrics {
  const processes = names.map((name) =>
    processMetrics(
      name,
      snapshots.map((snapshot) => snapshot.get(name)),
    ),
  )
  // Counters of a restarted process say nothing about the time before.
  const whole = processes
    .filter(({ restarts }) => restarts === 0)
    .flatMap(({ name }) => {
      const [before, after] = [snapshots[0]?.get(name), snapshots.at(-1)?.get(name)]
      return before === undefined || after === undefined ? [] : [{ before, after }]
    })
  const gateways = whole.filter(({ after }) => after.some(({ name }) => name === 'http_requests_total'))
  const counted = (wanted: (labels: Series['labels']) => boolean) =>
    gateways.reduce((total, { before, after }) => total + requestsIn(after, wanted) - requestsIn(before, wanted), 0)
  const observed = (name: string, wanted: (labels: Series['labels']) => boolean) =>
    sum(whole.map(({ before, after }) => between(histogramOf(before, name, wanted), histogramOf(after, name, wanted))))
  return {
    processes,
    requests: gateways.length === 0 ? undefined : counted(() => true),
    serverErrors: counted((labels) => labels['status_code']?.startsWith('5') === true),
    light: observed('http_request_duration_seconds', (labels) => lightEndpoints.has(`${labels['method']} ${labels['endpoint']}`)),
    webhook: observed('action_latency_seconds', (labels) => labels['action'] === 'webhook.save'),
  }
}
