/** Everything that a run of the gate found out, in the form in which it is judged. */
import type { DeliveryReport } from './delivery-report.ts'
import type { MeshMetrics } from './mesh-metrics.ts'
import type { Kind } from './workload.ts'

/**
 * `ok`: what the contract says. `server_error`: 5xx. `lost`: no answer. `limited`: 429, which is our load's fault. `wrong`: anything else,
 * a run that did not succeed included.
 */
export type Outcome = 'ok' | 'server_error' | 'lost' | 'limited' | 'wrong'

/** One request and what became of it. */
export interface MeasuredResponse {
  kind: Kind
  outcome: Outcome
  /** When it was due, from the beginning of the judged time, in milliseconds. */
  atMs: number
  /** From when it was due to the end of the answer, in milliseconds: waiting to be sent is waiting. */
  latencyMs: number
}

/** The latencies in ascending order of the wanted requests that were answered as they should be: what was not is an error already. */
export function latencies(responses: readonly MeasuredResponse[], wanted: (response: MeasuredResponse) => boolean): Float64Array {
  const good = responses.filter((response) => response.outcome === 'ok' && wanted(response))
  return Float64Array.from(good, ({ latencyMs }) => latencyMs).sort()
}

export interface Measurements {
  /** The judged time, in milliseconds. */
  runMs: number
  ratePerSecond: number
  answers: readonly MeasuredResponse[]
  /** Due, but not sent: what they build on (a preview, a run) was not there. */
  starved: number
  /** By how much the load generator itself sent late, at the 99th percentile, in milliseconds. */
  lateP99Ms: number
  /** Requests that had to be refused, and how many of them were accepted. */
  refusals: { asked: number; accepted: number }
  /** Replays that were answered, and how many of them not with the run of the first time, as a replay, under a request id of their own. */
  replays: { answered: number; other: number }
  deliveryReport: DeliveryReport
  mesh: MeshMetrics
}
