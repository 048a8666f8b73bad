/** One log line, two metrics and a span per request, however it ended. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { Metrics } from '#mesh/telemetry/metrics.ts'
import { field } from '#mesh/telemetry/names.ts'
import type { LabelledHistogram } from '#mesh/telemetry/latency-histogram.ts'
import { runInScope } from '#mesh/telemetry/scope.ts'
import { workAttributes } from '#mesh/telemetry/tracing.ts'

/** The path as metrics name it: never text from a client. */
export const endpointOf = (request: FastifyRequest): string => request.routeOptions.config?.endpoint ?? 'unmatched'

interface RequestMetrics {
  requests: { inc(by?: number): void }
  seconds: LabelledHistogram
}

/** Observes the requests of a gateway. */
export interface Observer {
  /** Begins to observe a request. Call it once per request, before anything else. */
  begin(request: FastifyRequest, reply: FastifyReply): void
  /** Starts the counters of a route at 0. */
  expect(endpoint: string, method: string): void
}

/** The statuses that alerts and service levels count begin at 0. Those of client errors begin when the first occurs. */
const expected = [200, 500, 501, 503, 504]

export function observer(log: Logger, metrics: Metrics): Observer {
  const requests = metrics.counter('http_requests_total', 'HTTP requests by response status', ['endpoint', 'method', 'status_code'])
  const seconds = metrics.histogram('http_request_duration_seconds', 'Duration of a request, to the end of the response', [
    'endpoint',
    'method',
  ])
  // Labels are looked up once per combination, of which there are few: a lookup per request costs more than the counting.
  const known = new Map<string, RequestMetrics>()
  const of = (endpoint: string, method: string, status: number): RequestMetrics => {
    const name = `${method} ${endpoint} ${status}`
    const found = known.get(name) ?? {
      requests: requests.labels({ endpoint, method, status_code: status }),
      seconds: seconds.labels({ endpoint, method }),
    }
    known.set(name, found)
    return found
  }
  const expect = (endpoint: string, method: string) => {
    for (const status of expected) of(endpoint, method, status).requests.inc(0)
  }
  expect('unmatched', 'OTHER')
  const begin = (request: FastifyRequest, reply: FastifyReply) => {
    request.startedAt = performance.now()
    reply.raw.once('close', () => {
      const finished = reply.raw.writableFinished
      if (!finished) request.gone?.abort()
      const took = performance.now() - request.startedAt
      // nginx's status for a client that did not wait for its response.
      const status = finished ? reply.raw.statusCode : 499
      const endpoint = endpointOf(request)
      const method = methodLabel(request.method)
      const counted = of(endpoint, method, status)
      counted.requests.inc()
      counted.seconds.observe(took / 1000, request.scope.trace)
      const { failure } = request
      const line = {
        [field.actor]: request.caller?.actor,
        [field.keyId]: request.caller?.keyId,
        [field.source]: request.source,
        [field.method]: method,
        endpoint,
        status_code: status,
        [field.reason]: failure?.reason,
        [field.durationMs]: Math.round(took * 100) / 100,
      }
      // The end is an event of the connection, outside the scope of the request: enter it again.
      runInScope(request.scope, () => {
        if (status >= 500) {
          const cause = { ...line, err: failure?.cause ?? failure }
          if (status === 500) log.error(cause, 'request failed')
          else log.warn(cause, 'request failed')
        } else log.info(line, 'request')
      })
      endSpan(request, status)
    })
  }
  return { begin, expect }
}

function endSpan({ span, failure, scope: { work } }: FastifyRequest, status: number): void {
  if (span === undefined) return
  span.set({ 'http.response.status_code': status, 'relay.reason': failure?.reason, ...workAttributes(work) })
  if (status >= 500 || status === 499) span.fail(String(status))
  span.end()
}

const known = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

/** A closed set: a client may send any of HTTP's many methods. */
export const methodLabel = (method: string): string => (known.has(method) ? method : 'OTHER')
