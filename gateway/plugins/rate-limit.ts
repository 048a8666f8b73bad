/**
 * Rate limits at the door: by address for everything but health, also for what is not there, before anybody is authenticated; by workspace, after that, on routes whose config
 * says `limited`. Both are told in the headers of https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import { AddressLimiter, type AddressLimiterParts } from '#mesh/address-limiter.ts'
import { errors } from '../errors.ts'
import type { Done, Verdict } from '../rate-limit/quota-lease.ts'
import type { Limiter } from '../rate-limit/limiter.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Whether requests count against the limit of the caller's workspace. */
    limited?: boolean
    /** What machines ask to know how the gateway is: it counts against no address. */
    uncounted?: boolean
  }
}

/** A request counts once, and once more for each of these that its body has, in bytes: what it costs grows with that. */
export const bytesPerHit = 64 * 1024
export const maxBodyBytes = 1024 * 1024

export const hitsOf = (bytes: number): number => 1 + Math.floor(bytes / bytesPerHit)

/**
 * To be added after authentication, which says whose limit it is. The hooks are synchronous where the limiter knows the answer. A body
 * without a length counts once at first, and the rest when it is there.
 */
export function rateLimitPlugin(app: FastifyInstance, { limiter }: { limiter: Pick<Limiter, 'decide'> }): void {
  const take = (request: FastifyRequest, reply: FastifyReply, hits: number, done: (error?: Error) => void) => {
    if (request.routeOptions.config.limited !== true || request.caller === undefined || hits <= 0) return done()
    const decided: Done = (verdict) => {
      if (verdict.limited) tell(reply, 'workspace', verdict)
      if (verdict.allowed) done()
      else done(errors.RATE_LIMITED({ retryAfterMs: Math.ceil(verdict.resetMs) }))
    }
    limiter.decide(request.caller.workspace, decided, hits)
  }
  app.addHook('onRequest', (request, reply, done) => take(request, reply, hitsOf(lengthOf(request)), done))
  app.addHook('preHandler', (request, reply, done) => {
    const body = request.body as Buffer | undefined
    take(request, reply, hitsOf(body?.length ?? 0) - hitsOf(lengthOf(request)), done)
  })
}

/** What it says itself, in bytes: what is longer or shorter than that, or than any body may be, is refused. */
const lengthOf = ({ headers }: FastifyRequest): number => Math.min(Number(headers['content-length'] ?? 0), maxBodyBytes)

/** A hook for before authentication. `perMinute: 0` is no limit. Who is counted is `request.ip`: behind a proxy trustProxy says whose it is. */
export function addressLimit(parts: AddressLimiterParts): onRequestHookHandler {
  if (parts.perMinute === 0) return (_request, _reply, done) => done()
  const limiter = new AddressLimiter(parts)
  const terms = { limit: parts.perMinute, windowMs: 60_000, remaining: 0 }
  return (request, reply, done) => {
    if (request.routeOptions.config?.uncounted === true) return done()
    const retryAfterMs = limiter.take(request.ip)
    if (retryAfterMs === 0) return done()
    tell(reply, 'address', { ...terms, resetMs: retryAfterMs })
    done(errors.RATE_LIMITED({ message: 'Too many requests from this address. Retry-After says when to go on.', retryAfterMs }))
  }
}

/** q: how many in a window of w seconds; r: what is left; t: seconds until there is more. */
function tell(reply: FastifyReply, policy: string, terms: Pick<Verdict, 'limit' | 'windowMs' | 'remaining' | 'resetMs'>): void {
  reply.header('RateLimit-Policy', `"${policy}";q=${terms.limit};w=${Math.ceil(terms.windowMs / 1000)}`)
  reply.header('RateLimit', `"${policy}";r=${terms.remaining};t=${Math.ceil(terms.resetMs / 1000)}`)
}
