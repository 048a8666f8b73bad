/**
 * A request that leaves the mesh, as a span by https://opentelemetry.io/docs/specs/semconv/http/http-spans/ that the other side's can be
 * children of. Its path and query stay unsaid: they can hold what is secret.
 */
import { formatTraceparent } from './trace-context.ts'
import { withSpan } from './tracing.ts'

export interface TracedRequest {
  /** To send along; empty where the trace is not recorded. */
  readonly headers: Readonly<Record<string, string>>
  /** Is told the status of the answer. */
  setStatus(status: number): void
}

/** `peer`: what it is in the map of services. Of few: a host that callers choose is not among them. */
export function withRequestSpan<T>(
  peer: string,
  method: string,
  { hostname, port, protocol }: URL,
  send: (outgoing: TracedRequest) => Promise<T>,
): Promise<T> {
  const to = {
    'peer.service': peer,
    'server.address': hostname.replace(/^\[|\]$/g, ''),
    'server.port': Number(port || (protocol === 'http:' ? 80 : 443)),
  }
  return withSpan({ name: method, kind: 'client', attributes: { 'http.request.method': method, ...to } }, (span) =>
    send({
      headers: span === undefined ? {} : { traceparent: formatTraceparent(span.trace) },
      setStatus(status) {
        span?.set({ 'http.response.status_code': status })
        if (status >= 400) span?.fail(String(status))
      },
    }),
  )
}
