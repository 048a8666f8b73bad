/** The gateway's own state of a request, in addition to Fastify's. */
import type { FastifyInstance } from 'fastify'
import type { Caller } from '#mesh/grpc/caller.ts'
import type { MeshError } from '#mesh/errors.ts'
import type { Scope } from '#mesh/telemetry/scope.ts'
import type { Span } from '#mesh/telemetry/tracing.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Its id and its trace, which begins here: a client's own trace context is not trusted. */
    scope: Scope
    /** The tracer of its trace, if recorded. */
    span: Span | undefined
    /** The time of arrival, by performance.now(). */
    startedAt: number
    /** The caller: set by authenticate, on routes that require one. */
    caller: Caller | undefined
    /** The caller token that access issued for the services; never the key. */
    callerToken: string | undefined
    /** The address of the source, as sent to services; undefined if there is none. */
    source: string | undefined
    /** The error with which it failed. */
    failure: MeshError | undefined
    /** Aborts the work for the request when the client disconnects. */
    gone: AbortController | undefined
  }
  interface FastifyContextConfig {
    /** The route as metrics and logs name it. */
    endpoint?: string
    permission?: string
    takesBody?: boolean
    /** Probes that run every few seconds would bury the traces of real requests. */
    untraced?: boolean
  }
}

/** Reserves the properties on every request: objects of one shape are faster. */
export function decorateRequests(app: FastifyInstance): void {
  app.decorateRequest('scope')
  app.decorateRequest('startedAt', 0)
  for (const name of ['held', 'span', 'caller', 'callerToken', 'source', 'failure', 'gone'] as const) app.decorateRequest(name, undefined)
}
