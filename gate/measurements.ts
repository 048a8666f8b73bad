/** The results of a run of the gate, in the form that is judged. */
import type { DeliveryReport } from './delivery-report.ts'
import type { MeshMetrics } from './mesh-metrics.ts'
import type { Kind } from './workload.ts'

/**
 * `ok`: as the contract says. `server_error`: 5xx. `lost`: no response. `limited`: 429, which is the fault of the gate's load. `wrong`:
 * anything else, including a run that did not succeed.
 */
export type Outcome = 'ok' | 'server_error' | 'lost' | 'limited' | 'wrong'

/** One request and its result. */
export interface MeasuredResponse {
  kind: Kind
  outcome: Outcome
  /** When it was due, from the start of the judged time, in milliseconds. */
  atMs: number
  /** From when it was due to the end of the response, in milliseconds: waiting to be sent counts. */
  latencyMs: number
}

/** The latencies of the matching requests with a correct response, in ascending order; all others are errors already. */
export function latencies(responses: readonly MeasuredResponse[], wanted: (response: MeasuredResponse) => boolean): Float64Array {
  const good = responses.filter((response) => response.outcome === 'ok' && wanted(response))
  return Float64Array.from(good, ({ latencyMs }) => latencyMs).sort()
}

export interface Measurements {
  /** The judged time, in milliseconds. */
  runMs: number
  ratePerSecond: number
  answers: readonly MeasuredResponse[]
  /** Due, but not sent, because the preview or run that they build on did not exist. */
  starved: number
  /** How late the load generator itself sent, at the 99th percentile, in milliseconds. */
  lateP99Ms: number
  /** Requests that must be rejected, and how many of them were accepted. */
  refusals: { asked: number; accepted: number }
  /** Answered replays, and how many of them were wrong: another run, not marked as a replay, or an old request id. */
  replays: { answered: number; other: number }
  deliveryReport: DeliveryReport
  mesh: MeshMetrics
}
