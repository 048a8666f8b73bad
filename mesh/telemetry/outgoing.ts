/**
 * A request that leaves the mesh, as a span by https://opentelemetry.io/docs/specs/semconv/http/http-spans/, which spans of the other side
 * can be children of. It has no path and query, because they may contain secrets.
 */
import { formatTraceparent } from './trace-context.ts'
import { withSpan } from './tracing.ts'

export interface TracedRequest {
  /** To send along; empty if the trace is not recorded. */
  readonly headers: Readonly<Record<string, string>>
  /** Sets the status of the response. */
  setStatus(status: number): void
}

/** `peer`: its name in the service map. From a closed set: hosts that callers choose are not in it. */
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
