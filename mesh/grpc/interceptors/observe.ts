import type { MeshError } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { Metrics } from '../../telemetry/metrics.ts'
import { field } from '../../telemetry/names.ts'
import type { Interceptor } from './interceptor.ts'

/**
 * One log line and two metrics a call. A failure of ours is logged with its cause; a refusal is the caller's business. A call that changed
 * nothing and went well is logged at `debug` alone: the gateway's line has the same request id, and a line costs a fifth of such a call.
 */
export function observe(metrics: Metrics, log: Logger): Interceptor {
  const labels = ['grpc_service', 'grpc_method', 'grpc_code'] as const
  const handled = metrics.counter('grpc_server_handled_total', 'Calls by how they ended', labels)
  const seconds = metrics.seconds('grpc_server_handling_seconds', 'Time from the request to the response', ['grpc_service', 'grpc_method'])
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
      handled.inc({ grpc_service: call.method.service, grpc_method: call.method.name, grpc_code: code })
      seconds.observe({ grpc_service: call.method.service, grpc_method: call.method.name }, took / 1000)
      const line = {
        [field.requestId]: call.requestId,
        [field.traceId]: call.trace.traceId,
        [field.method]: call.method.path,
        [field.code]: code,
        [field.reason]: error?.reason,
        [field.durationMs]: Math.round(took * 100) / 100,
        [field.workspace]: call.caller?.workspace,
        [field.actor]: call.caller?.actor,
        peer: call.peer,
      }
      if (code === 'INTERNAL' || code === 'UNKNOWN' || code === 'DATA_LOSS')
        log.error({ ...line, err: error?.cause ?? error }, 'call failed')
      else if (code === 'UNAVAILABLE') log.warn({ ...line, err: error?.cause }, 'call failed')
      else if (code === 'OK' && call.method.safeToRepeat) log.debug(line, 'call')
      else log.info(line, 'call')
    }
  }
}
