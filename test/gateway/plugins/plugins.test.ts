import type { KeyObject } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { newApiKey } from '#mesh/api-key.ts'
import { sign } from '#mesh/signature.ts'
import { SignatureKeys } from '#mesh/signature-keys.ts'
import { key } from '#mesh/telemetry/names.ts'
import { fakeMesh } from '../../fakes/identity.ts'
import { type TestGateway, apiKey, startGateway } from '../gateway.ts'

const secret = 'a-signing-secret-that-is-only-in-these-tests'
const legacyKey = (text: string, workspace: string) => new SignatureKeys({ root: undefined, legacy: text }).key('inbound', workspace, 0)!
const studio = 'https://studio.example'

let gateway: TestGateway
let strict: TestGateway
let usual: TestGateway['actions']['handlers']
beforeAll(async () => {
  gateway = await startGateway({ CORS_ORIGINS: `${studio},https://other.example`, ACTIONS_SIGNING_SECRET: secret })
  strict = await startGateway({
    ACTIONS_SIGNING_SECRET: secret,
    REQUIRE_SIGNATURE: 'true',
    GRAFANA_URL: 'https://grafana.example',
    TEMPO_URL: 'https://tempo.example',
  })
  usual = gateway.actions.handlers
})
afterAll(() => Promise.all([gateway.stop(), strict.stop()]))
afterEach(() => {
  gateway.actions.asked.length = 0
  strict.actions.asked.length = 0
  gateway.actions.handlers = { ...usual }
})

const reason = async (response: Response) => ((await response.json()) as { reason: string }).reason

describe('who is calling', () => {
  test('is told by the key; a token of access goes on to the service, and never the key', async () => {
    expect((await gateway.call('/actions')).status).toBe(200)
    const { call } = gateway.actions.asked[0]!
    expect(call.caller).toMatchObject({ workspace: 'default', actor: 'tester', keyId: 'key-of-tester' })
    expect(call.callerToken).not.toContain(apiKey)
    expect(await gateway.mesh.verifierFor('actions').caller(call.callerToken!)).toMatchObject({ actor: 'tester' })
  })

  test.each([
    ['nothing', undefined],
    ['another key', `Bearer ${newApiKey('test')}`],
    ['a key of another environment', `Bearer ${newApiKey('prod')}`],
    ['the key alone', apiKey],
    ['another scheme', `Basic ${Buffer.from(`x:${apiKey}`).toString('base64')}`],
    ['two keys in one header', `Bearer ${apiKey}, Bearer ${apiKey}`],
  ])('is unknown by %s: 401, and no service hears of it', async (_what, authorization) => {
    const response = await fetch(`${gateway.url}/actions`, { headers: authorization === undefined ? {} : { authorization } })
    expect(response.status).toBe(401)
    expect(response.headers.get('www-authenticate')).toMatch(/^Bearer/)
    expect(await reason(response)).toBe('UNAUTHENTICATED')
    expect(gateway.actions.asked).toEqual([])
  })

  test.each(['api_key', 'key', 'access_token', 'API_KEY'])(
    'is not told by a key in the query (%s): 400, and the key is in no log',
    async (name) => {
      const response = await fetch(`${gateway.url}/actions?a=1&${name}=${apiKey}`)
      expect(response.status).toBe(400)
      expect(await reason(response)).toBe('KEY_IN_QUERY')
      await expect.poll(() => gateway.logged.some((line) => line.reason === 'KEY_IN_QUERY')).toBe(true)
      expect(JSON.stringify(gateway.logged)).not.toContain(apiKey)
    },
  )

  test('needs the permission of the route', async () => {
    const weak = newApiKey('test')
    gateway.keys.set(weak, { keyId: 'weak', permissions: ['actions:read'] })
    const headers = { authorization: `Bearer ${weak}` }
    expect((await gateway.call('/actions', { headers })).status).toBe(200)
    const response = await gateway.call('/actions/preview', { body: { action: 'a' }, headers })
    expect(response.status).toBe(403)
    expect(((await response.json()) as { detail: string }).detail).toContain('actions:preview')
  })
})

describe('what reaches a service beside the message', () => {
  test('is ours alone: no x-relay-*, grpc-* or trace header of the client', async () => {
    await gateway.call('/actions', {
      headers: {
        'x-relay-peer': 'actions.0000',
        'x-relay-workspace': 'other',
        'grpc-timeout': '1m',
        'grpc-encoding': 'gzip',
        'x-request-id': '11111111-1111-4111-8111-111111111111',
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
        te: 'trailers',
      },
    })
    const { call } = gateway.actions.asked[0]!
    expect(call.peer).toBe('gateway')
    expect(call.requestId).not.toBe('11111111-1111-4111-8111-111111111111')
    expect(call.trace.traceId).not.toBe('0af7651916cd43dd8448eb211c80319c')
  })

  test('is a deadline of what the contract gives', async () => {
    const before = Date.now()
    await gateway.call('/actions')
    const { deadline } = gateway.actions.asked[0]!.call
    expect(deadline).toBeGreaterThanOrEqual(before + 4000)
    expect(deadline).toBeLessThanOrEqual(Date.now() + 5000)
  })

  test('comes back where the answer is a replay', async () => {
    gateway.actions.handlers.executeAction = async (request, call) => {
      call.reply(key.replayed, 'true')
      return usual.executeAction(request, call)
    }
    expect((await gateway.call('/actions/execute', { body: { preview_id: 'p' } })).headers.get('idempotency-replayed')).toBe('true')
    gateway.actions.handlers = { ...usual }
    expect((await gateway.call('/actions/execute', { body: { preview_id: 'p' } })).headers.has('idempotency-replayed')).toBe(false)
  })
})

describe('X-Request-ID', () => {
  test.each(['/actions', '/nope', '/healthz', '/actions/runs/%zz', '/actions?key=a'])(
    'is a new UUID v4 on every answer, as on %s',
    async (path) => {
      const ids = await Promise.all(
        [1, 2].map(async () => (await gateway.call(path, { headers: { 'x-request-id': 'mine' } })).headers.get('x-request-id')!),
      )
      for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
      expect(ids[0]).not.toBe(ids[1])
    },
  )
})

describe('X-Signature', () => {
  const body = '{"preview_id": "p"}'
  const signature = sign(legacyKey(secret, 'default'), Buffer.from(body))
  const execute = (harness: TestGateway, headers: Record<string, string>, sent = body) =>
    harness.call('/actions/execute', { body: sent, headers })

  test('that is right is let through, in either case', async () => {
    expect((await execute(gateway, { 'x-signature': signature })).status).toBe(200)
    expect((await execute(strict, { 'x-signature': signature.toUpperCase() })).status).toBe(200)
  })

  test('must be right where it is sent, even where none is demanded', async () => {
    for (const wrong of [signature.replace(/^./, signature.startsWith('0') ? '1' : '0'), 'nonsense', '', `sha256=${signature}`]) {
      const response = await execute(gateway, { 'x-signature': wrong })
      expect(response.status).toBe(401)
      expect(await reason(response)).toBe('SIGNATURE_INVALID')
    }
    expect(gateway.actions.asked).toEqual([])
  })

  test('covers the exact bytes: the same JSON written otherwise is another body', async () => {
    expect((await execute(gateway, { 'x-signature': signature }, '{"preview_id":"p"}')).status).toBe(401)
  })

  test('by the older key of an overlap is let through and flagged; once the overlap has ended it is refused', async () => {
    const root = 'the root of these tests, known to no receiver'
    const mesh = fakeMesh()
    const state = { workspace: 'default', purpose: 'inbound', generation: 1 }
    mesh.signatures = { states: [{ ...state, previousGeneration: 0 }], sequence: 1, more: false, rootId: '' }
    const harness = await startGateway({ ACTIONS_SIGNING_SECRET: secret, SIGNATURE_ROOT_SECRET: root }, {}, mesh)
    try {
      const keys = new SignatureKeys({ root, legacy: secret })
      const signed = (key: KeyObject) => execute(harness, { 'x-signature': sign(key, Buffer.from(body)) })
      const newest = keys.key('inbound', 'default', 1)!
      const [old, fresh] = [await signed(keys.key('inbound', 'default', 0)!), await signed(newest)]
      expect([old.status, old.headers.get('x-signature-key')]).toEqual([200, 'previous'])
      expect([fresh.status, fresh.headers.get('x-signature-key')]).toEqual([200, null])
      const flagged = { action: 'signature.previous_key', outcome: 'success', workspace: 'default', keyId: 'key-of-tester' }
      expect(harness.refused).toEqual([expect.objectContaining(flagged)])
      // What verifies webhooks of the workspace signs no requests.
      expect((await signed(keys.key('outbound', 'default', 1)!)).status).toBe(401)

      mesh.signatures = { states: [state], sequence: 2, more: false, rootId: '' }
      await expect.poll(async () => (await signed(keys.key('inbound', 'default', 0)!)).status, { timeout: 5000 }).toBe(401)
      expect((await signed(newest)).status).toBe(200)
      const counted = await harness.metrics.registry.metrics()
      for (const key of ['newest', 'previous', 'none'])
        expect(counted).toMatch(new RegExp(`http_signatures_total\\{key="${key}",service="gateway"\\} [1-9]`))
    } finally {
      await harness.stop()
    }
  })

  test('is demanded of every body where configured, and of nothing else', async () => {
    const response = await execute(strict, {})
    expect(response.status).toBe(401)
    expect(await reason(response)).toBe('SIGNATURE_REQUIRED')
    expect((await strict.call('/actions/preview', { body: { action: 'a' } })).status).toBe(401)
    expect((await strict.call('/actions')).status).toBe(200)
  })

  test('is asked for after the key: who may not call learns nothing of it', async () => {
    const response = await fetch(`${strict.url}/actions/execute`, { method: 'POST', body, headers: { 'content-type': 'application/json' } })
    expect(await reason(response)).toBe('UNAUTHENTICATED')
  })
})

describe('CORS', () => {
  const preflight = (origin: string) =>
    fetch(`${gateway.url}/actions/execute`, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,idempotency-key' },
    })

  test('lets the configured origins in, without cookies, for ten minutes', async () => {
    const { status, headers } = await preflight(studio)
    expect(status).toBe(204)
    expect(headers.get('access-control-allow-origin')).toBe(studio)
    expect(headers.get('access-control-allow-methods')).toBe('GET, POST, DELETE, OPTIONS')
    expect(headers.get('access-control-allow-headers')).toBe(
      'Content-Type, Idempotency-Key, X-Signature, Authorization, traceparent, tracestate',
    )
    expect(headers.get('access-control-max-age')).toBe('600')
    expect(headers.has('access-control-allow-credentials')).toBe(false)
    expect(headers.get('vary')).toBe('Origin')
  })

  test('shows pages the headers that they need', async () => {
    const { headers } = await gateway.call('/actions', { headers: { origin: studio } })
    expect(headers.get('access-control-allow-origin')).toBe(studio)
    expect(headers.get('access-control-expose-headers')).toBe(
      'X-Request-ID, X-Trace-Link, Idempotency-Replayed, RateLimit, RateLimit-Policy, Retry-After, Link',
    )
  })

  test('shows pages also why they were refused', async () => {
    const response = await fetch(`${gateway.url}/actions`, { headers: { origin: studio } })
    expect(response.status).toBe(401)
    expect(response.headers.get('access-control-allow-origin')).toBe(studio)
  })

  test.each(['https://evil.example', 'null', 'https://studio.example.evil.example', 'http://studio.example', 'https://STUDIO.example'])(
    'keeps %s out',
    async (origin) => {
      expect((await preflight(origin)).headers.has('access-control-allow-origin')).toBe(false)
      expect((await gateway.call('/actions', { headers: { origin } })).headers.has('access-control-allow-origin')).toBe(false)
    },
  )

  test('keeps everybody out where no origin is configured', async () => {
    expect((await strict.call('/actions', { headers: { origin: studio } })).headers.has('access-control-allow-origin')).toBe(false)
  })
})

describe('X-Trace-Link', () => {
  test('is not given where Tempo has no such trace', async () => {
    expect((await strict.call('/actions')).headers.has('x-trace-link')).toBe(false)
  })

  test('is absent where no Grafana is configured', async () => {
    expect((await gateway.call('/actions')).headers.has('x-trace-link')).toBe(false)
  })
})

describe('every answer', () => {
  test.each(['/actions', '/nope', '/healthz', '/actions/runs/%zz'])(
    'tells browsers to trust nothing beyond it, as %s does',
    async (path) => {
      const { headers } = await gateway.call(path)
      expect(headers.get('content-security-policy')).toBe("default-src 'none'; base-uri 'none'; frame-ancestors 'none'")
      expect(headers.get('x-content-type-options')).toBe('nosniff')
      expect(headers.get('x-frame-options')).toBe('DENY')
      expect(headers.get('referrer-policy')).toBe('no-referrer')
      expect(headers.get('strict-transport-security')).toMatch(/max-age=\d{8}/)
      expect(headers.has('x-powered-by')).toBe(false)
      expect(headers.has('server')).toBe(false)
    },
  )
})

describe('the log', () => {
  test('has one line a request, with the names that every process uses, and no path that a client wrote', async () => {
    const response = await gateway.call('/actions/runs/3a033cc1-0000-4000-8000-00000000cafe')
    const id = response.headers.get('x-request-id')
    await expect.poll(() => gateway.logged.filter((line) => line.request_id === id)).toHaveLength(1)
    expect(gateway.logged.find((line) => line.request_id === id)).toMatchObject({
      service: 'gateway',
      level: 'info',
      method: 'GET',
      endpoint: '/actions/runs/{run_id}',
      status_code: 200,
      workspace_id: 'default',
      actor: 'tester',
      key_id: 'key-of-tester',
      source: '127.0.0.1',
      trace_id: gateway.actions.asked[0]!.call.trace.traceId,
      duration_ms: expect.any(Number) as number,
    })
    expect(JSON.stringify(gateway.logged)).not.toContain('00000000cafe')
    expect(JSON.stringify(gateway.logged)).not.toContain(apiKey)
  })

  test('says why a request failed, which the client is not told', async () => {
    gateway.actions.handlers.listActions = () => Promise.reject(new Error('the disk is on fire'))
    const response = await gateway.call('/actions')
    expect(response.status).toBe(500)
    expect(await response.text()).not.toContain('disk')
    await expect
      .poll(() =>
        gateway.logged.some(
          (line) => line.level === 'error' && line.reason === 'INTERNAL' && line.request_id === response.headers.get('x-request-id'),
        ),
      )
      .toBe(true)
  })
})
