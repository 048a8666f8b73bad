/** The web pages that may call from a browser (https://fetch.spec.whatwg.org/#http-cors-protocol): those of the configured origins. */
import cors from '@fastify/cors'
import type { FastifyInstance } from 'fastify'

const requestHeaders = ['Content-Type', 'Idempotency-Key', 'X-Signature', 'Authorization', 'traceparent', 'tracestate']
const exposedHeaders = ['X-Request-ID', 'X-Trace-Link', 'Idempotency-Replayed', 'RateLimit', 'RateLimit-Policy', 'Retry-After', 'Link']
const maxAgeSeconds = 600

/** `more` are the request headers that the contracts name. */
export async function allowOrigins(app: FastifyInstance, origins: readonly string[], more: readonly string[]): Promise<void> {
  await app.register(cors, {
    origin: [...origins],
    credentials: false,
    methods: ['GET', 'POST', 'DELETE', 'OPTIONS'],
    allowedHeaders: [...new Set([...requestHeaders, ...more])],
    exposedHeaders,
    maxAge: maxAgeSeconds,
    // The plugin's rejection is plain text; a request without an Origin needs none.
    strictPreflight: false,
  })
}
