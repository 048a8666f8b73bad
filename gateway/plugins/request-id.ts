/** Gives every request a new id (a UUID v4) and a new trace. A client's X-Request-ID is ignored; its traceparent becomes a link only. */
import { randomUUID } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { newTrace, parseTraceparent } from '#mesh/telemetry/trace-context.ts'
import { type SpanStart, beginTrace, startServerSpan } from '#mesh/telemetry/tracing.ts'
import { methodLabel } from './observe.ts'
import { securityHeaders } from './security-headers.ts'

export const newRequestId = (): string => randomUUID()

export function identify(request: FastifyRequest, reply: FastifyReply): void {
  const { trace, span } = begun(request)
  request.scope = { work: { requestId: request.id }, trace }
  request.span = span
  reply.headers(securityHeaders).header('x-request-id', request.id)
}

function begun(request: FastifyRequest): ReturnType<typeof beginTrace> {
  const { endpoint, untraced } = request.routeOptions.config ?? {}
  if (untraced) return { trace: newTrace(), span: undefined }
  const start = startOf(methodLabel(request.method), endpoint)
  const { traceparent } = request.headers
  return traceparent === undefined ? beginTrace(start) : startServerSpan(start, parseTraceparent(String(traceparent)), false)
}

const starts = new Map<string, SpanStart>()

/**
 * Follows https://opentelemetry.io/docs/specs/semconv/http/http-spans/, except for the path, which can hold secrets (a ticket, a code).
 * Built once per route, of which there are few.
 */
function startOf(method: string, route: string | undefined): SpanStart {
  const name = route === undefined ? method : `${method} ${route}`
  const known = starts.get(name)
  if (known !== undefined) return known
  const attributes = {
    'http.request.method': method === 'OTHER' ? '_OTHER' : method,
    'url.scheme': 'http',
    ...(route && { 'http.route': route }),
  }
  const start: SpanStart = { name: method === 'OTHER' ? name.replace('OTHER', 'HTTP') : name, kind: 'server', attributes }
  starts.set(name, start)
  return start
}
