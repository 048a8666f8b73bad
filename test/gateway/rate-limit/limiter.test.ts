import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { RateLimitServiceService } from '#gen/relay/ratelimit/v1/ratelimit.ts'
import { meshErrors } from '#mesh/errors.ts'
import { Channel } from '#mesh/grpc/client.ts'
import { Health } from '#mesh/grpc/health.ts'
import { GrpcServer, served } from '#mesh/grpc/server.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import type { QuotaDecision, Verdict } from '../../../gateway/rate-limit/quota-lease.ts'
import { type Check, Limiter, checkClient } from '../../../gateway/rate-limit/limiter.ts'
import { fakeMesh } from '../../fakes/identity.ts'

const minute = 60_000

let now: number
let limiter: Limiter
let metrics: Metrics
let lines: { msg: string; reason?: string }[]
let requests: { key: string; value: string; hits: number }[]
/** How the service answers; replaced by tests. */
let responses: (hits: number) => Promise<QuotaDecision>

const granted = (hits: number, limit = 600): QuotaDecision => ({
  limited: true,
  granted: hits,
  limit,
  windowMs: minute,
  remaining: 400,
  resetMs: 30_000,
})

beforeEach(() => {
  now = 0
  requests = []
  lines = []
  responses = async (hits) => granted(hits)
  metrics = new Metrics('gateway')
  limiter = start((entry, hits) => {
    requests.push({ ...entry, hits })
    return responses(hits)
  })
})
afterEach(() => limiter.stop())

function start(check: Check, more: { max?: number; now?: () => number } = {}): Limiter {
  const log = pino({}, { write: (line: string) => void lines.push(JSON.parse(line) as { msg: string }) })
  return new Limiter({ check, defaultLimit: 5, log, metrics, now: () => now, probeEveryMs: 5, ...more })
}

const decide = (workspace = 'acme') => new Promise<Verdict>((resolve) => limiter.decide(workspace, resolve))
const decideMany = (count: number, workspace?: string) => Promise.all(Array.from({ length: count }, () => decide(workspace)))
const ofWorkspaces = () => requests.filter(({ key }) => key === 'workspace')

describe('requests that come together', () => {
  test('are two questions to the service, however many they are', async () => {
    const verdicts = await decideMany(100)
    expect(verdicts.every(({ allowed, limit }) => allowed && limit === 600)).toBe(true)
    expect(requests.map(({ key, value }) => `${key}=${value}`)).toEqual(['workspace=acme', 'workspace=acme'])
    // 1 % of the limit is asked for ahead.
    expect(requests.map(({ hits }) => hits)).toEqual([1, 99 + 6])
  })

  test('are asked for by workspace', async () => {
    await Promise.all([decide('acme'), decide('globex')])
    expect(requests.map(({ value, hits }) => [value, hits])).toEqual([
      ['acme', 1],
      ['globex', 1],
    ])
  })

  test('are decided before decide returns where a lease is held', async () => {
    await decideMany(100)
    let told: Verdict | undefined
    limiter.decide('acme', (verdict) => (told = verdict))
    expect(told).toMatchObject({ allowed: true, source: 'lease' })
    expect(told!.resetMs).toBe(30_000)
  })
})

describe('while the service is away', () => {
  test('a bucket with the last known limit decides; nobody waits for the service again, and it is logged once', async () => {
    responses = async (hits) => granted(hits, 20)
    await decide()
    responses = () => Promise.reject(meshErrors.DEPENDENCY_UNAVAILABLE())
    const verdicts = await decideMany(50)
    expect(verdicts.filter(({ allowed }) => allowed)).toHaveLength(20)
    expect(verdicts[49]).toMatchObject({ allowed: false, source: 'fallback', limited: true, limit: 20, remaining: 0, resetMs: 3000 })
    expect(ofWorkspaces()).toHaveLength(2)
    expect(lines.filter(({ msg }) => msg.includes('does not respond'))).toMatchObject([{ reason: 'UNAVAILABLE' }])
    expect(await metrics.registry.metrics()).toMatch(/gateway_ratelimit_up\{service="gateway"\} 0\n/)
    expect(await metrics.registry.metrics()).toMatch(/gateway_ratelimit_fallback_total\{reason="error",service="gateway"\} 50\n/)
  })

  test('a workspace that was never seen has the default limit', async () => {
    responses = () => Promise.reject(meshErrors.DEADLINE_EXCEEDED())
    const verdicts = await decideMany(9, 'new')
    expect(verdicts.map(({ allowed }) => allowed)).toEqual([true, true, true, true, true, false, false, false, false])
  })

  test('a probe in the background finds it again', async () => {
    responses = () => Promise.reject(meshErrors.DEADLINE_EXCEEDED())
    await decide()
    expect(limiter.up).toBe(false)
    expect((await decide()).source).toBe('fallback')
    expect(ofWorkspaces()).toHaveLength(1)
    responses = async (hits) => granted(hits)
    await vi.waitFor(() => expect(limiter.up).toBe(true))
    expect(await decide()).toMatchObject({ allowed: true, source: 'service' })
    expect(lines.map(({ msg }) => msg)).toContain('the ratelimit service responds again')
  })

  test('what is known of an exhausted window still holds', async () => {
    responses = async () => ({ ...granted(0), remaining: 0 })
    expect((await decide()).allowed).toBe(false)
    responses = () => Promise.reject(meshErrors.DEPENDENCY_UNAVAILABLE())
    await decide('globex')
    expect(await decide()).toMatchObject({ allowed: false, source: 'lease' })
  })
})

test('a large request takes all of its hits, or none, from the bucket too', async () => {
  responses = () => Promise.reject(meshErrors.DEPENDENCY_UNAVAILABLE())
  const large = (hits: number) => new Promise<Verdict>((resolve) => limiter.decide('acme', resolve, hits))
  expect(await large(3)).toMatchObject({ allowed: true, source: 'fallback', remaining: 2 })
  expect(await large(3)).toMatchObject({ allowed: false, remaining: 2 })
  expect(await large(2)).toMatchObject({ allowed: true, remaining: 0 })
  now += minute
  expect(await large(17)).toMatchObject({ allowed: true, remaining: 0 })
})

test('a request that the service finds wrong is decided here and says nothing about the service', async () => {
  responses = () => Promise.reject(meshErrors.INVALID_REQUEST())
  expect(await decide('x'.repeat(300))).toMatchObject({ allowed: true, source: 'fallback' })
  expect(limiter.up).toBe(true)
})

test('workspaces are remembered up to a bound, and never forgotten while somebody waits', async () => {
  const waiting: (() => void)[] = []
  limiter.stop()
  metrics = new Metrics('gateway')
  limiter = start((_, hits) => new Promise((resolve) => waiting.push(() => resolve(granted(hits)))), { max: 2 })
  const all = ['a', 'b', 'c', 'd'].map((workspace) => decide(workspace))
  const again = decide('a')
  while (waiting.length > 0) waiting.shift()!()
  await Promise.all(all)
  // The second request of `a` went into a question of its own: the lease that waits was not replaced.
  await vi.waitFor(() => expect(waiting.length).toBe(1))
  waiting.shift()!()
  expect((await again).allowed).toBe(true)
})

describe('over gRPC', () => {
  const mesh = fakeMesh()

  /** A ratelimit service that grants 3 in all, or is silent. */
  async function serve(port = 0) {
    const state = { silent: false, left: 3 }
    const service = served(RateLimitServiceService, {
      async check({ descriptors, hits }, call) {
        if (state.silent) await new Promise((resolve) => call.signal.addEventListener('abort', resolve, { once: true }))
        const limited = descriptors[0]!.entries[0]!.key === 'workspace'
        const taken = Math.min(hits, state.left)
        if (limited) state.left -= taken
        const window = { limit: 3, remaining: state.left, windowSeconds: 60, resetMs: 30_000 }
        const decision = { limited, granted: taken, ...window, source: 'SOURCE_REDIS' as const }
        return { granted: taken, decisions: [decision] }
      },
    })
    const log = pino({ level: 'silent' })
    const health = new Health({ services: [] })
    const verifier = mesh.verifierFor('ratelimit')
    const server = new GrpcServer({ services: [service], verifier, health, log, metrics: new Metrics('ratelimit') })
    const bound = await server.listen({ host: '127.0.0.1', port })
    return { state, port: bound, stop: () => server.drain(0) }
  }

  test('a service that falls silent costs each request at most a moment, and comes back by itself', async () => {
    const service = await serve()
    const channel = new Channel({ address: `127.0.0.1:${service.port}`, peerToken: mesh.peerToken('gateway') })
    limiter.stop()
    metrics = new Metrics('gateway')
    limiter = start(checkClient(channel), { now: () => performance.now() })
    try {
      await limiter.warm(50)
      const verdicts = await decideMany(5)
      expect(verdicts.map(({ allowed, source }) => [allowed, source])).toEqual([1, 2, 3, 4, 5].map((nth) => [nth <= 3, 'service']))

      service.state.silent = true
      const started = performance.now()
      expect(await decide('globex')).toMatchObject({ allowed: true, source: 'fallback' })
      expect(performance.now() - started).toBeLessThan(400)
      const again = performance.now()
      expect(await decide('globex')).toMatchObject({ allowed: true, source: 'fallback' })
      expect(performance.now() - again).toBeLessThan(50)

      service.state.silent = false
      await vi.waitFor(() => expect(limiter.up).toBe(true), { timeout: 10_000 })
      expect((await decide('initech')).source).toBe('service')
    } finally {
      channel.close()
      await service.stop()
    }
  })
})
