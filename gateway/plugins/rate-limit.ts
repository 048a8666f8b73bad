/**
 * Rate limits: by address, before authentication, for every path except health, known or not; then by workspace, on routes whose config
 * says `limited`. Both report in the headers of https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import { AddressLimiter, type AddressLimiterParts } from '#mesh/address-limiter.ts'
import { errors } from '../errors.ts'
import type { OnVerdict, Verdict } from '../rate-limit/quota-lease.ts'
import type { Limiter } from '../rate-limit/limiter.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Whether requests count against the limit of the caller's workspace. */
    limited?: boolean
    /** A health endpoint for machines: it counts against no address. */
    uncounted?: boolean
  }
}

/** A request counts once, plus once per this many bytes of its body, because its cost grows with its size. */
export const bytesPerHit = 64 * 1024
export const maxBodyBytes = 1024 * 1024

export const hitsOf = (bytes: number): number => 1 + Math.floor(bytes / bytesPerHit)

/**
 * Add this after authentication, which names the workspace. The hooks are synchronous if the limiter knows the decision. A body without a
 * length counts once at first, and the rest when it has arrived.
 */
export function rateLimitPlugin(app: FastifyInstance, { limiter }: { limiter: Pick<Limiter, 'decide'> }): void {
  const take = (request: FastifyRequest, reply: FastifyReply, hits: number, done: (error?: Error) => void) => {
    if (request.routeOptions.config.limited !== true || request.caller === undefined || hits <= 0) return done()
    const decided: OnVerdict = (verdict) => {
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

/** The declared body length in bytes. A body that is longer or shorter than that, or longer than the limit, is rejected. */
const lengthOf = ({ headers }: FastifyRequest): number => Math.min(Number(headers['content-length'] ?? 0), maxBodyBytes)

/** A hook for before authentication. `perMinute: 0` means no limit. It counts `request.ip`: behind a proxy, trustProxy determines it. */
export function addressLimit(parts: AddressLimiterParts): onRequestHookHandler {
  if (parts.perMinute === 0) return (_request, _reply, done) => done()
  const limiter = new AddressLimiter(parts)
  const terms = { limit: parts.perMinute, windowMs: 60_000, remaining: 0 }
  return (request, reply, done) => {
    if (request.routeOptions.config?.uncounted === true) return done()
    const retryAfterMs = limiter.take(request.ip)
    if (retryAfterMs === 0) return done()
    tell(reply, 'address', { ...terms, resetMs: retryAfterMs })
    done(errors.RATE_LIMITED({ message: 'Rate limit of this address exceeded. Wait for the time in Retry-After.', retryAfterMs }))
  }
}

/** q: requests per window of w seconds; r: the remaining requests; t: seconds until the quota resets. */
function tell(reply: FastifyReply, policy: string, terms: Pick<Verdict, 'limit' | 'windowMs' | 'remaining' | 'resetMs'>): void {
  reply.header('RateLimit-Policy', `"${policy}";q=${terms.limit};w=${Math.ceil(terms.windowMs / 1000)}`)
  reply.header('RateLimit', `"${policy}";r=${terms.remaining};t=${Math.ceil(terms.resetMs / 1000)}`)
}
