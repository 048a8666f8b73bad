/** Counters and durations of calls by method. A label is looked up once per method, not per call: that costs more than the counting. */
import { codes } from '../errors.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { LabelledHistogram } from '../telemetry/latency-histogram.ts'
import type { Method } from './descriptors.ts'

export interface MethodMetrics {
  /** Calls that ended with a code. */
  ended(code: string): { inc(): void }
  /** The trace of the call, its exemplar if recorded. */
  readonly seconds: LabelledHistogram
}

const begun = (counter: { inc(by?: number): void }) => {
  counter.inc(0)
  return counter
}

/**
 * `<prefix>_handled_total` and `<prefix>_handling_seconds`, the names of gRPC's own instrumentations. A method is counted from 0 once it
 * was requested here.
 */
export function methodMetrics(
  metrics: Metrics,
  prefix: string,
  help: { handled: string; handling: string },
): (method: Method) => MethodMetrics {
  const handled = metrics.counter(`${prefix}_handled_total`, help.handled, ['grpc_service', 'grpc_method', 'grpc_code'])
  const handling = metrics.histogram(`${prefix}_handling_seconds`, help.handling, ['grpc_service', 'grpc_method'])
  const known = new Map<Method, MethodMetrics>()
  return (method) => {
    const found = known.get(method) ?? make(method)
    known.set(method, found)
    return found
  }

  function make({ service, name }: Method): MethodMetrics {
    const labels = { grpc_service: service, grpc_method: name }
    // All series of a method start when it is known, so that its first failure is an increase.
    const byCode = new Map(['OK', ...Object.keys(codes)].map((code) => [code, begun(handled.labels({ ...labels, grpc_code: code }))]))
    const unknown = byCode.get('UNKNOWN')!
    return { ended: (code) => byCode.get(code) ?? unknown, seconds: handling.labels(labels) }
  }
}
