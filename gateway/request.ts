/** What the gateway knows of one request, beside what Fastify does. */
import type { FastifyInstance } from 'fastify'
import type { Caller } from '#mesh/grpc/caller.ts'
import type { MeshError } from '#mesh/errors.ts'
import type { Scope } from '#mesh/telemetry/scope.ts'
import type { Span } from '#mesh/telemetry/tracing.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Its id and its trace, which begins here: what a client says of its own traces is not believed. */
    scope: Scope
    /** Where its trace is recorded. */
    span: Span | undefined
    /** When it came in, by performance.now(). */
    startedAt: number
    /** Who is calling: set by authenticate, on the routes that want a caller. */
    caller: Caller | undefined
    /** What proves the caller to the services: made by access, never the key. */
    callerToken: string | undefined
    /** The address that it came from, as the services are told; undefined where it is none. */
    source: string | undefined
    /** Why it was refused, or failed. */
    failure: MeshError | undefined
    /** Aborts what is under way for it when the client goes. */
    gone: AbortController | undefined
  }
  interface FastifyContextConfig {
    /** The route as metrics and logs name it. */
    endpoint?: string
    permission?: string
    takesBody?: boolean
    /** What machines ask every few seconds would bury the traces of what people do. */
    untraced?: boolean
  }
}

/** Makes room for it on every request: objects that all have one shape are the faster ones. */
export function decorateRequests(app: FastifyInstance): void {
  app.decorateRequest('scope')
  app.decorateRequest('startedAt', 0)
  for (const name of ['held', 'span', 'caller', 'callerToken', 'source', 'failure', 'gone'] as const) app.decorateRequest(name, undefined)
}
