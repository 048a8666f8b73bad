import type { MeshError } from '../../errors.ts'
import type { Metrics } from '../../telemetry/metrics.ts'
import { field } from '../../telemetry/names.ts'
import type { Interceptor } from './interceptor.ts'

/** One log line and two metrics a call. A failure of ours is logged with its cause; a refusal is the caller's business. */
export function observe(metrics: Metrics): Interceptor {
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
        [field.method]: call.method.path,
        [field.code]: code,
        [field.reason]: error?.reason,
        [field.durationMs]: Math.round(took * 100) / 100,
        [field.workspace]: call.caller?.workspace,
        [field.actor]: call.caller?.actor,
        peer: call.peer,
      }
      if (code === 'INTERNAL' || code === 'UNKNOWN' || code === 'DATA_LOSS')
        call.log.error({ ...line, err: error?.cause ?? error }, 'call failed')
      else if (code === 'UNAVAILABLE') call.log.warn({ ...line, err: error?.cause }, 'call failed')
      else call.log.info(line, 'call')
    }
  }
}
