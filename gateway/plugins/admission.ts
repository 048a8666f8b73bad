/**
 * Limits the bytes in flight per caller, per workspace and in total. A request that does not fit is rejected before its body is read. A
 * request counts its body until it has become a message, and its response until it has been sent. A response to a read that does not fit is
 * rejected too. A response to a write is always sent, and takes space only from its caller.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { ByteBudget, type Reservation, type BudgetShare } from '#mesh/byte-budget.ts'
import { meshErrors } from '#mesh/errors.ts'
import { LruCache } from '#mesh/lru-cache.ts'
import type { Metrics } from '#mesh/telemetry/metrics.ts'

const KiB = 1024
const MiB = 1024 * KiB

/** In bytes. Serving a request of 1 MiB takes about five times that; a process should stay below 300 MB. */
export const admissionLimits = { caller: 4 * MiB, workspace: 8 * MiB, total: 18 * MiB, reserved: 4 * MiB, small: 64 * KiB }
/** The overhead of any request, in addition to its body and its response. */
const minBytes = 4 * KiB
/** The approximate time until there is space again. */
const retryAfterMs = 1000
/** The sizes of the latest responses, by key and route. */
const maxRemembered = 10_000

declare module 'fastify' {
  interface FastifyRequest {
    /** The bytes that the request holds of the budget. */
    held: Reservation | undefined
  }
  interface FastifyContextConfig {
    /** A GET that creates something each time: its response cannot be requested again. */
    single?: boolean
  }
}

export interface AdmissionParts {
  /** The maximum body size. */
  bodyLimit: number
  metrics: Metrics
  limits?: typeof admissionLimits
}

/** For every route of the instance; add it directly after authentication. */
export function admission(app: FastifyInstance, { bodyLimit, metrics, limits = admissionLimits }: AdmissionParts): void {
  const budget = new ByteBudget({ maxBytes: limits.total, reservedBytes: limits.reserved, smallBytes: limits.small })
  const refused = metrics.counter('gateway_overload_rejections_total', 'Requests rejected because too many bytes were in flight', [])
  metrics.gauge('gateway_bytes_in_flight', 'Bytes of requests and responses in flight', [], (gauge) => gauge.set(budget.total))
  // The size of a response is known only when it exists, so a caller's next response is estimated by the last one of the route.
  const responses = new LruCache<number>(maxRemembered)
  /** The bytes reserved for the expected response: at most what leaves space for another. */
  const expectedBytes = (request: FastifyRequest) => Math.min(responses.get(nameOf(request)) ?? 0, limits.caller / 2)
  const nameOf = ({ caller, routeOptions }: FastifyRequest) => `${caller!.keyId} ${routeOptions.config.endpoint}`

  app.addHook('onRequest', (request, reply, done) => {
    const { workspace, keyId } = request.caller!
    const shares: BudgetShare[] = [
      { name: `key ${keyId}`, maxBytes: limits.caller },
      { name: `workspace ${workspace}`, maxBytes: limits.workspace },
    ]
    const held = budget.take(shares, minBytes + Math.min(bodyBytes(request, bodyLimit), bodyLimit) + expectedBytes(request))
    if (held === undefined) {
      refused.inc()
      return done(
        meshErrors.OVERLOADED({ message: 'Too many bytes are in flight at this gateway; nothing was done. Retry shortly.', retryAfterMs }),
      )
    }
    request.held = held
    reply.raw.once('close', held.release)
    done()
  })
  // A body without a length was counted with the maximum size.
  app.addHook('preHandler', (request, _reply, done) => {
    request.held?.resize(minBytes + ((request.body as Buffer | undefined)?.length ?? 0) + expectedBytes(request))
    done()
  })
  app.addHook('onSend', (request, reply, payload: string | Buffer | null, done) => {
    const { held } = request
    if (held === undefined) return done(null, payload)
    const bytes = Buffer.byteLength(payload ?? '')
    const name = nameOf(request)
    if (bytes > limits.small || responses.get(name) !== undefined) responses.set(name, bytes)
    if (!canAskAgain(request, reply)) held.resize(minBytes + bytes)
    else if (!held.tryResize(minBytes + bytes)) {
      refused.inc()
      const message =
        'The response exceeds the bytes that this caller, its workspace or this gateway may have in flight. Read the pending responses, then retry.'
      return done(meshErrors.OVERLOADED({ message, retryAfterMs }))
    }
    done(null, payload)
  })
}

/** Whether discarding the response loses nothing. Errors are small and always sent. */
function canAskAgain({ method, routeOptions }: FastifyRequest, { statusCode }: FastifyReply): boolean {
  return (method === 'GET' || method === 'HEAD') && statusCode < 400 && routeOptions.config.single !== true
}

/** The size of the request body, or its maximum size if no length is given, in bytes. */
export function bodyBytes({ headers }: FastifyRequest, bodyLimit: number): number {
  if (headers['transfer-encoding'] !== undefined) return bodyLimit
  return Number(headers['content-length'] ?? 0)
}
