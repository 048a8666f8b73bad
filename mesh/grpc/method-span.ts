/**
 * Spans of calls by method (https://opentelemetry.io/docs/specs/semconv/rpc/rpc-spans/). The start of a span is prepared once per method.
 */
import type { SpanStart } from '../telemetry/tracing.ts'
import type { Method } from './descriptors.ts'

export function methodSpan(kind: 'client' | 'server'): (method: Method) => SpanStart {
  const known = new Map<Method, SpanStart>()
  return (method) => {
    const found = known.get(method) ?? begin(kind, method)
    known.set(method, found)
    return found
  }
}

const begin = (kind: 'client' | 'server', { path, owner }: Method): SpanStart => ({
  name: path.slice(1),
  kind,
  attributes: {
    // The service that should have responded, even if none did.
    ...(kind === 'client' && owner !== undefined && { 'peer.service': owner }),
    'rpc.system.name': 'grpc',
    'rpc.method': path.slice(1),
  },
})
