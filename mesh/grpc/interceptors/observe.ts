import type { MeshError } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { Metrics } from '../../telemetry/metrics.ts'
import { field } from '../../telemetry/names.ts'
import { currentScope } from '../../telemetry/scope.ts'
import { workAttributes } from '../../telemetry/tracing.ts'
import type { Call } from '../call.ts'
import type { Method } from '../descriptors.ts'
import { methodMetrics } from '../method-metrics.ts'
import type { Interceptor } from './interceptor.ts'

/**
 * One log line, two metrics and a span per call. A failure of ours is logged with its cause; a rejection is the caller's concern. A
 * successful call that changed nothing is logged only at `debug`: the gateway's line has the same request id, and a line costs a fifth of
 * such a call.
 */
export function observe(metrics: Metrics, log: Logger, methods: readonly Method[] = []): Interceptor {
  const of = methodMetrics(metrics, 'grpc_server', {
    handled: 'gRPC calls handled, by status code',
    handling: 'Duration of a handled gRPC call',
  })
  methods.forEach(of)
  return async (call, next) => {
    const started = performance.now()
    let error: MeshError | undefined
    try {
      return await next()
    } catch (thrown) {
      error = thrown as MeshError
      throw thrown
    } finally {
      const took = performance.now() - started
      const code = error?.code ?? 'OK'
      const counted = of(call.method)
      counted.ended(code).inc()
      counted.seconds.observe(took / 1000, call.trace)
      endSpan(call, code, error?.reason)
      const level = levelOf(code, call.method)
      if (log.isLevelEnabled(level)) {
        const line = {
          [field.method]: call.method.path,
          [field.code]: code,
          [field.reason]: error?.reason,
          [field.durationMs]: Math.round(took * 100) / 100,
          [field.actor]: call.caller?.actor,
          peer: call.peer,
        }
        if (level === 'error') log.error({ ...line, err: error?.cause ?? error }, 'call failed')
        else if (level === 'warn') log.warn({ ...line, err: error?.cause }, 'call failed')
        else log[level](line, 'call')
      }
    }
  }
}

/** The codes of failures of the service, not of the caller (the RPC conventions of OpenTelemetry). */
const serviceFailed = new Set(['UNKNOWN', 'DEADLINE_EXCEEDED', 'UNIMPLEMENTED', 'INTERNAL', 'UNAVAILABLE', 'DATA_LOSS'])

function endSpan({ span, requestId }: Call, code: string, reason: string | undefined): void {
  if (span === undefined) return
  span.set({ 'rpc.response.status_code': code, 'relay.reason': reason, ...workAttributes(currentScope()?.work ?? { requestId }) })
  if (serviceFailed.has(code)) span.fail(code)
  span.end()
}

function levelOf(code: string, { safeToRepeat }: Method): 'error' | 'warn' | 'info' | 'debug' {
  if (code === 'INTERNAL' || code === 'UNKNOWN' || code === 'DATA_LOSS') return 'error'
  if (code === 'UNAVAILABLE') return 'warn'
  return code === 'OK' && safeToRepeat ? 'debug' : 'info'
}
