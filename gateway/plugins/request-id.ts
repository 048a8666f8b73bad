/** Every request has an id of ours (a UUID v4) and begins a trace of ours; a client's X-Request-ID and traceparent are not taken. */
import { randomUUID } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { newTrace } from '#mesh/telemetry/trace-context.ts'
import { securityHeaders } from './security-headers.ts'

export const newRequestId = (): string => randomUUID()

export function identify(request: FastifyRequest, reply: FastifyReply): void {
  request.trace = newTrace()
  reply.headers(securityHeaders).header('x-request-id', request.id)
}
