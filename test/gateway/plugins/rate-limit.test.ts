import Fastify, { type FastifyInstance } from 'fastify'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { MeshError } from '#mesh/errors.ts'
import type { OnVerdict, Verdict } from '../../../gateway/rate-limit/quota-lease.ts'
import { addressLimit, rateLimitPlugin } from '../../../gateway/plugins/rate-limit.ts'

let app: FastifyInstance
let requests: string[]
let decide: (done: OnVerdict) => void

const verdict = (more: Partial<Verdict> = {}): Verdict => ({
  allowed: true,
  source: 'lease',
  limited: true,
  limit: 600,
  windowMs: 60_000,
  remaining: 599,
  resetMs: 41_001,
  ...more,
})

beforeEach(() => {
  app = Fastify()
  requests = []
  decide = (done) => done(verdict())
  app.setErrorHandler((error: MeshError, _, reply) => reply.code(429).send({ reason: error.reason, retryAfterMs: error.retryAfterMs }))
})
afterEach(() => app.close())

describe('the limit of a workspace', () => {
  beforeEach(() => {
    app.addHook('onRequest', (request, _, done) => {
      if (request.headers.authorization !== undefined) request.caller = { workspace: 'acme', actor: 'a', keyId: 'k', may: () => true }
      done()
    })
    const limiter = {
      decide(workspace: string, done: OnVerdict) {
        requests.push(workspace)
        decide(done)
      },
    }
    rateLimitPlugin(app, { limiter })
    app.get('/limited', { config: { limited: true } }, () => 'done')
    app.get('/open', () => 'done')
  })
  const get = (url: string) => app.inject({ url, headers: { authorization: 'Bearer x' } })

  test('is told in the headers of the IETF draft', async () => {
    const response = await get('/limited')
    expect(response.statusCode).toBe(200)
    expect(response.headers['ratelimit-policy']).toBe('"workspace";q=600;w=60')
    expect(response.headers['ratelimit']).toBe('"workspace";r=599;t=42')
    expect(requests).toEqual(['acme'])
  })

  test('refuses with when to try again, and with the headers', async () => {
    decide = (done) => setImmediate(() => done(verdict({ allowed: false, remaining: 0, resetMs: 1500.2 })))
    const response = await get('/limited')
    expect(response.statusCode).toBe(429)
    expect(response.json()).toEqual({ reason: 'RATE_LIMITED', retryAfterMs: 1501 })
    expect(response.headers['ratelimit']).toBe('"workspace";r=0;t=2')
  })

  test('is not told where there is none', async () => {
    decide = (done) => done(verdict({ limited: false, limit: 0 }))
    const response = await get('/limited')
    expect(response.statusCode).toBe(200)
    expect(Object.keys(response.headers).filter((name) => name.startsWith('ratelimit'))).toEqual([])
  })

  test('counts only routes that say so', async () => {
    const response = await get('/open')
    expect(response.statusCode).toBe(200)
    expect(response.headers['ratelimit']).toBeUndefined()
    expect(requests).toEqual([])
  })
})

describe('the limit of an address', () => {
  const get = (remoteAddress: string) => app.inject({ url: '/', remoteAddress })

  test('refuses the one address and no other, before anybody is authenticated', async () => {
    app.addHook('onRequest', addressLimit({ perMinute: 2, now: () => 0 }))
    let authenticated = 0
    app.addHook('onRequest', (_request, _reply, done) => {
      authenticated += 1
      done()
    })
    app.get('/', () => 'done')
    expect((await get('192.0.2.1')).statusCode).toBe(200)
    expect((await get('192.0.2.1')).headers['ratelimit']).toBeUndefined()
    const refused = await get('192.0.2.1')
    expect(refused.statusCode).toBe(429)
    expect(refused.json()).toEqual({ reason: 'RATE_LIMITED', retryAfterMs: 30_000 })
    expect(refused.headers['ratelimit-policy']).toBe('"address";q=2;w=60')
    expect(refused.headers['ratelimit']).toBe('"address";r=0;t=30')
    expect(authenticated).toBe(2)
    expect((await get('192.0.2.2')).statusCode).toBe(200)
  })

  test('is none when it is 0', async () => {
    app.addHook('onRequest', addressLimit({ perMinute: 0 }))
    app.get('/', () => 'done')
    for (let index = 0; index < 20; index += 1) expect((await get('192.0.2.1')).statusCode).toBe(200)
  })
})
