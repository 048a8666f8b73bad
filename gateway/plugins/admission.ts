/**
 * Who may have how many bytes under way: each caller, each workspace, and all together. A request that finds no room is refused before its
 * body is read. What is counted of a request is its body until that has become a message, and its answer until that has been sent. What was
 * only read is refused too if it finds no room; what was done is told in any case, and takes room from nobody but its caller.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { ByteBudget, type Reservation, type BudgetShare } from '#mesh/byte-budget.ts'
import { meshErrors } from '#mesh/errors.ts'
import { LruCache } from '#mesh/lru-cache.ts'
import type { Metrics } from '#mesh/telemetry/metrics.ts'

const KiB = 1024
const MiB = 1024 * KiB

/** In bytes. A request of 1 MiB takes some five times that while it is served; a process is to stay below 300 MB. */
export const admissionLimits = { caller: 4 * MiB, workspace: 8 * MiB, total: 18 * MiB, reserved: 4 * MiB, small: 64 * KiB }
/** What any request takes beside its body and its answer. */
const minBytes = 4 * KiB
/** How long it takes, more or less, until there is room again. */
const retryAfterMs = 1000
/** Answers whose size is remembered, by who got them from which route. */
const maxRemembered = 10_000

declare module 'fastify' {
  interface FastifyRequest {
    /** What it holds of the bytes that may be under way. */
    held: Reservation | undefined
  }
  interface FastifyContextConfig {
    /** A GET that makes something each time: what it answers cannot be asked for again. */
    single?: boolean
  }
}

export interface AdmissionParts {
  /** The largest body. */
  bodyLimit: number
  metrics: Metrics
  limits?: typeof admissionLimits
}

/** For every route of the instance; to be added right after authentication. */
export function admission(app: FastifyInstance, { bodyLimit, metrics, limits = admissionLimits }: AdmissionParts): void {
  const budget = new ByteBudget({ maxBytes: limits.total, reservedBytes: limits.reserved, smallBytes: limits.small })
  const refused = metrics.counter('gateway_overload_rejections_total', 'Requests rejected because too many bytes were in flight', [])
  metrics.gauge('gateway_bytes_in_flight', 'Bytes of requests and responses in flight', [], (gauge) => gauge.set(budget.total))
  // An answer's size is known only once it is there: so a caller's next one is taken to be as large as the last from that route.
  const responses = new LruCache<number>(maxRemembered)
  /** Of the answer that a request is expected to get: no more than leaves room for another. */
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
      return done(meshErrors.OVERLOADED({ message: 'Too many bytes are under way here; nothing was done. Try again soon.', retryAfterMs }))
    }
    request.held = held
    reply.raw.once('close', held.release)
    done()
  })
  // Without a length it was taken to be as large as it may be.
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
        'The response is too large for what this caller, its workspace or this gateway has under way. Read the pending responses, then try again.'
      return done(meshErrors.OVERLOADED({ message, retryAfterMs }))
    }
    done(null, payload)
  })
}

/** Whether nothing is lost with an answer that is not sent. An error has no size that matters. */
function canAskAgain({ method, routeOptions }: FastifyRequest, { statusCode }: FastifyReply): boolean {
  return (method === 'GET' || method === 'HEAD') && statusCode < 400 && routeOptions.config.single !== true
}

/** What the body of a request has, or may have, in bytes. */
export function bodyBytes({ headers }: FastifyRequest, bodyLimit: number): number {
  if (headers['transfer-encoding'] !== undefined) return bodyLimit
  return Number(headers['content-length'] ?? 0)
}
