import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newApiKey } from '#mesh/api-key.ts'
import { readConfig } from '#mesh/config.ts'
import { meshErrors } from '#mesh/errors.ts'
import { Channel } from '#mesh/grpc/client.ts'
import { createApp } from '../../gateway/app.ts'
import { gatewayVariables } from '../../gateway/config.ts'
import { readiness } from '../../gateway/readiness.ts'
import { type TestGateway, startGateway } from './gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway({ RELAY_COMMIT: 'abc1234' })
})
afterAll(() => gateway.stop())

const get = (path: string) => fetch(gateway.url + path)

describe('/ready', () => {
  test('is true while the services answer, to anybody, with Redis true where none is configured', async () => {
    const response = await get('/ready')
    expect(response.status).toBe(200)
    expect(await response.text()).toBe('{"ready":true,"checks":{"redis":true,"signing_keys":true,"actions":true,"access":true}}')
  })

  test('is false, and 503, when a service says that it does not serve', async () => {
    const other = await startGateway()
    other.actions.health.ok = false
    const response = await fetch(`${other.url}/ready`)
    expect(response.status).toBe(503)
    expect(await response.json()).toEqual({ ready: false, checks: { redis: true, signing_keys: true, actions: false, access: true } })
    other.actions.health.ok = true
    // Health keeps an answer for half a second at both ends.
    await expect.poll(async () => (await fetch(`${other.url}/ready`)).status, { timeout: 5000 }).toBe(200)
    await other.stop()
  })

  test('is answered from one look at the services for a second, however often it is asked', async () => {
    const other = await startGateway()
    let looks = 0
    const { ready } = other.health
    other.health.ready = () => ((looks += 1), ready.call(other.health))
    const started = performance.now()
    const statuses = await Promise.all(Array.from({ length: 50 }, async () => (await fetch(`${other.url}/ready`)).status))
    expect(new Set(statuses)).toEqual(new Set([200]))
    // Fifty take less than a second, where the machine is not busy.
    const before = looks
    expect(before).toBeLessThanOrEqual(1 + Math.floor((performance.now() - started) / 1000))
    await expect
      .poll(async () => ((await fetch(`${other.url}/ready`)).status === 200 ? looks : 0), { timeout: 5000 })
      .toBeGreaterThan(before)
    other.health.drain()
    expect((await fetch(`${other.url}/ready`)).status).toBe(503)
    await other.stop()
  })

  const nowhere = new Channel({ address: '127.0.0.1:1' })
  const hanging = () => new Promise<never>(() => undefined)
  const verifier = { caller: () => undefined }
  afterAll(() => nowhere.close())

  test('reports what is optional and away, and stays true', async () => {
    const health = readiness({
      upstreams: new Map([['ratelimit', nowhere]]),
      optional: ['ratelimit'],
      verifier,
      redis: { ping: () => Promise.reject(new Error('away')) },
    })
    expect(await health.dependencies()).toEqual({ redis: false, signing_keys: true, ratelimit: false })
    expect(await health.ready()).toBe(true)
  })

  test('stays true while access is away, once its keys are known: verified callers go on', async () => {
    const other = await startGateway()
    expect((await other.call('/actions')).status).toBe(200)
    await other.access.stop()
    const answer = async () => (await fetch(`${other.url}/ready`)).json()
    const checks = { redis: true, signing_keys: true, actions: true, access: false }
    await expect.poll(answer, { timeout: 5000 }).toEqual({ ready: true, checks })
    expect((await other.call('/actions')).status).toBe(200)
    await other.stop()
  })

  test('is false until the keys of access were read: nobody could be told', async () => {
    const away = () => Promise.reject(meshErrors.DEPENDENCY_UNAVAILABLE())
    const upstreams = new Map([['access', nowhere]])
    const health = readiness({ upstreams, optional: ['access'], verifier: { caller: away }, redis: undefined })
    expect(await health.dependencies()).toEqual({ redis: true, signing_keys: false, access: false })
    expect(await health.ready()).toBe(false)
  })

  test('stays true while idempotency is away, without which only executes do nothing, and says so', async () => {
    const other = await startGateway()
    const optional = readConfig(gatewayVariables, { ...other.mesh.env('gateway'), UPSTREAMS: 'actions=127.0.0.1:1' }).optionalUpstreams
    const actions = new Channel({ address: other.actions.address })
    const health = readiness({
      upstreams: new Map([
        ['actions', actions],
        ['idempotency', nowhere],
      ]),
      optional,
      verifier,
      redis: undefined,
    })
    expect(await health.dependencies()).toEqual({ redis: true, signing_keys: true, actions: true, idempotency: false })
    expect(await health.ready()).toBe(true)
    actions.close()
    await other.stop()
  })

  test('waits two seconds at the most, for all together', async () => {
    const started = performance.now()
    const health = readiness({ upstreams: new Map([['actions', nowhere]]), optional: [], verifier, redis: { ping: hanging } })
    expect(await health.dependencies()).toEqual({ redis: false, signing_keys: true, actions: false })
    expect(performance.now() - started).toBeLessThan(2500)
    expect(await health.ready()).toBe(false)
  })
})

describe('what the gateway says of itself', () => {
  test('/version names the version, the commit and the Node it runs on', async () => {
    expect(await (await get('/version')).json()).toEqual({
      version: expect.stringMatching(/^\d+\.\d+\.\d+/) as string,
      commit: 'abc1234',
      node: process.version,
    })
  })

  test('/healthz answers as long as the process does', async () => {
    const response = await get('/healthz')
    expect([response.status, await response.text()]).toEqual([200, '{"ok":true}'])
  })

  test('/openapi.json lists what can be called', async () => {
    const document = (await (await get('/openapi.json')).json()) as { paths: object }
    expect(Object.keys(document.paths)).toContain('/actions/execute')
  })

  test('/ leads to /docs', async () => {
    const response = await fetch(gateway.url, { redirect: 'manual' })
    expect([response.status, response.headers.get('location')]).toEqual([302, '/docs'])
  })

  test.each(['/docs', '/docs/'])('%s is a page with a policy of its own', async (path) => {
    const response = await get(path)
    expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8')
    expect(response.headers.get('content-security-policy')).toMatch(/style-src 'sha256-/)
    expect(await response.text()).toContain('<!doctype html>')
  })

  test('/metrics counts requests by route, method and status, and never by what a client wrote', async () => {
    await gateway.call('/actions')
    await get('/a-path-of-mine')
    await gateway.call('/actions/runs/3a033cc1-0000-4000-8000-000000000001')
    await get('/actions/runs/%zz')
    const metrics = async () => (await gateway.call('/metrics')).text()
    const counted = (endpoint: string, status: number) =>
      `http_requests_total{endpoint="${endpoint}",method="GET",status_code="${status}",service="gateway"}`
    await expect.poll(metrics).toContain(counted('/actions', 200))
    await expect.poll(metrics).toContain(counted('unmatched', 404))
    await expect.poll(metrics).toContain(counted('/actions/runs/{run_id}', 200))
    await expect.poll(metrics).toContain(counted('unmatched', 400))
    expect(await metrics()).not.toContain('a-path-of-mine')
    expect(await metrics()).not.toContain('3a033cc1')
  })
})

describe('/metrics', () => {
  test('wants a key that may read it', async () => {
    const viewer = newApiKey('test')
    gateway.keys.set(viewer, { workspace: 'default', actor: 'viewer', keyId: 'key-of-viewer', permissions: ['actions:read'] })
    const prometheus = newApiKey('test')
    gateway.keys.set(prometheus, { workspace: 'default', actor: 'prometheus', keyId: 'key-of-prometheus', permissions: ['metrics:read'] })
    expect((await get('/metrics')).status).toBe(401)
    const refused = await gateway.call('/metrics', { headers: { authorization: `Bearer ${viewer}` } })
    expect([refused.status, await refused.json()]).toEqual([
      403,
      expect.objectContaining({ detail: 'The caller lacks the permission metrics:read.' }),
    ])
    const read = await gateway.call('/metrics', { headers: { authorization: `Bearer ${prometheus}` } })
    expect([read.status, await read.text()]).toEqual([200, expect.stringContaining('process_resident_memory_bytes')])
  })

  test('is open where METRICS_PUBLIC says so, and counts against the address', async () => {
    const other = await startGateway({ METRICS_PUBLIC: 'true', ADDRESS_LIMIT: '2' })
    const status = async () => (await fetch(`${other.url}/metrics`)).status
    expect([await status(), await status(), await status()]).toEqual([200, 200, 429])
    await other.stop()
  })

  test('is OpenMetrics for whoever asks for it, and the text format otherwise; neither is kept', async () => {
    const as = async (accept: string) => {
      const { headers } = await gateway.call('/metrics', { headers: { accept } })
      return [headers.get('content-type'), headers.get('cache-control')]
    }
    const openMetrics = 'application/openmetrics-text; version=1.0.0; charset=utf-8'
    expect(await as('application/openmetrics-text;version=1.0.0')).toEqual([openMetrics, 'no-store'])
    expect(await as('*/*')).toEqual(['text/plain; version=0.0.4; charset=utf-8', 'no-store'])
  })
})

describe('a start', () => {
  test('fails where a route has no upstream, and says which', async () => {
    const config = readConfig(gatewayVariables, { ...gateway.mesh.env('gateway'), UPSTREAMS: 'other=127.0.0.1:1' })
    const unknown = () => Promise.reject(new Error('nobody calls'))
    const parts = {
      ...gateway,
      config,
      log: gateway.app.log as never,
      tokenSource: { caller: unknown },
      upstreams: new Map(),
      limiter: undefined,
    }
    const health = readiness({ upstreams: new Map(), optional: [], verifier: { caller: unknown }, redis: undefined })
    const { Metrics } = await import('#mesh/telemetry/metrics.ts')
    await expect(createApp({ ...parts, metrics: new Metrics('gateway'), health }).then((app) => app.ready())).rejects.toThrow(
      'is served by actions, and UPSTREAMS has no address of it',
    )
  })
})
