/** What the processes of the mesh counted while the load ran, from what their metrics said before, meanwhile and after. Pure. */
import type { Series } from './exposition.ts'
import { type Histogram, between, histogramOf, sum } from './histogram.ts'
import { lightEndpoints } from './workload.ts'

/** The series of each process by its name; one that did not answer is not in it. */
export type Snapshot = ReadonlyMap<string, readonly Series[]>

export interface ProcessMetrics {
  name: string
  /** How often it was looked at, and how often it did not answer then. */
  looks: number
  missed: number
  /** Another start time than before: it is not the same process any more. */
  restarts: number
  /** The most resident memory that was seen, in bytes; NaN when none was. */
  peakResident: number
  /** Undefined where it was not the same process from beginning to end. */
  cpuSeconds: number | undefined
}

export interface MeshMetrics {
  processes: readonly ProcessMetrics[]
  /** By the gateways, whoever asked, without what they say of themselves. Undefined where none was the same from beginning to end. */
  requests: number | undefined
  serverErrors: number
  /** In seconds, by the gateways. */
  light: Histogram
  /** From the start of a run of webhook.save to its end, in seconds, by the services that ran it. */
  webhook: Histogram
}

const gauge = (all: readonly Series[] | undefined, name: string): number | undefined => all?.find((series) => series.name === name)?.value

/** What the gateway answers about itself is no use of Relay. */
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

/** `names` are the processes there must be; `snapshots` in order, the first from before the load and the last from after it. */
export function meshSeen(names: readonly string[], snapshots: readonly Snapshot[]): MeshMetrics {
  const processes = names.map((name) =>
    processMetrics(
      name,
      snapshots.map((snapshot) => snapshot.get(name)),
    ),
  )
  // Counters of a process that began anew say nothing about the time before.
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
