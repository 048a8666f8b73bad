/** Counts and times of calls by method. A label is looked up once a method, not once a call: that costs more than the counting. */
import type { Metrics } from '../telemetry/metrics.ts'
import type { Timed } from '../telemetry/seconds.ts'
import type { Method } from './descriptors.ts'

export interface MethodMetrics {
  /** Calls that ended with a code. */
  ended(code: string): { inc(): void }
  /** The trace is that of the call: its exemplar where it is recorded. */
  readonly seconds: Timed
}

/** `<prefix>_handled_total` and `<prefix>_handling_seconds`, by the names that gRPC's own instrumentations use. */
export function methodMetrics(metrics: Metrics, prefix: string, help: { handled: string; handling: string }): (method: Method) => MethodMetrics {
  const handled = metrics.counter(`${prefix}_handled_total`, help.handled, ['grpc_service', 'grpc_method', 'grpc_code'])
  const handling = metrics.seconds(`${prefix}_handling_seconds`, help.handling, ['grpc_service', 'grpc_method'])
  const known = new Map<Method, MethodMetrics>()
  return (method) => {
    const found = known.get(method) ?? make(method)
    known.set(method, found)
    return found
  }

  function make({ service, name }: Method): MethodMetrics {
    const labels = { grpc_service: service, grpc_method: name }
    const byCode = new Map<string, { inc(): void }>()
    return {
      ended(code) {
        const found = byCode.get(code) ?? handled.labels({ ...labels, grpc_code: code })
        byCode.set(code, found)
        return found
      },
      seconds: handling.labels(labels),
    }
  }
}
