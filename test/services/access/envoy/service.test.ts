import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Client, Metadata, credentials } from '@grpc/grpc-js'
import {
  AuthorizationService,
  type CheckRequest,
  type CheckResponse,
  type HeaderValueOption,
} from '#gen/envoy/service/auth/v3/external_auth.ts'
import { newApiKey } from '#mesh/api-key.ts'
import type { Denial } from '#mesh/audit/denials.ts'
import { MeshError, meshErrors } from '#mesh/errors.ts'
import { fromServiceError } from '#mesh/grpc/status.ts'
import { CallerTokens } from '#mesh/identity/caller-tokens.ts'
import { CallerTokenSource } from '#mesh/token-exchange.ts'
import { authorizationService } from '../../../../services/access/envoy/service.ts'
import { localExchange } from '../../../../services/access/tokens/service.ts'
import { fakeMesh } from '../../../fakes/identity.ts'
import { type TestServer, failureOf, startServer } from '../../../fixtures/mesh/server.ts'
import { type Harness, openHarness } from '../tokens/harness.ts'

const requestId = '6f6a1c3e-0f0e-4d0a-9a57-0a1b2c3d4e5f'

describe('what Envoy is told of a request', () => {
  const mesh = fakeMesh()
  let at: Harness
  let verifier: CallerTokens
  let server: TestServer
  let denials: Denial[]
  let away = false
  let envoy: Client
  /** As Envoy calls it, with what it shows of itself. */
  const ask = (request: CheckRequest, peerToken: string | undefined = mesh.peerToken('envoy')('access')): Promise<CheckResponse> =>
    new Promise((resolve, reject) => {
      const metadata = new Metadata()
      if (peerToken !== '') metadata.set('x-relay-peer', peerToken)
      const { path, requestSerialize, responseDeserialize } = AuthorizationService.check
      const deadline = Date.now() + 5000
      envoy.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, { deadline }, (error, response) =>
        error === null ? resolve(response!) : reject(fromServiceError(error)),
      )
    })
  beforeEach(async () => {
    at = openHarness({ perMinute: 10 })
    away = false
    denials = []
    verifier = new CallerTokens()
    verifier.update({ signingKeys: [at.signer] })
    const exchange = localExchange((apiKey, asking) =>
      away ? Promise.reject(meshErrors.DEPENDENCY_UNAVAILABLE()) : at.exchange(apiKey, asking),
    )
    const tokenSource = new CallerTokenSource({ exchange, verifier, env: 'test' })
    const service = authorizationService({ tokenSource, denials: { note: (refusal) => denials.push(refusal) } })
    server = await startServer({ more: [service], verifier: mesh.verifierFor('access') })
    envoy = new Client(server.address, credentials.createInsecure())
  })
  afterEach(async () => {
    envoy.close()
    await server.stop()
  })

  const check = (headers: Record<string, string>, options: { path?: string; source?: string } = {}): Promise<CheckResponse> => {
    const { path = '/relay.actions.v1.ActionsService/ListActions', source = '198.51.100.7' } = options
    const http = { id: '1', method: 'POST', headers: { 'x-request-id': requestId, ...headers }, path, host: 'relay' }
    const attributes = { source: { address: { socketAddress: { address: source } } }, request: { http } }
    return ask({ attributes })
  }
  const bearer = (apiKey: string) => ({ authorization: `Bearer ${apiKey}` })
  const headersOf = (headers: readonly HeaderValueOption[]) => Object.fromEntries(headers.map(({ header }) => [header!.key, header!.value]))
  const allowed = ({ httpResponse, status }: CheckResponse) => {
    if (httpResponse?.$case !== 'okResponse') throw new Error(`not allowed: ${JSON.stringify(httpResponse)}`)
    expect(status?.code).toBe(0)
    for (const { appendAction } of httpResponse.value.headers) expect(appendAction).toBe(2)
    return { headers: headersOf(httpResponse.value.headers), removed: httpResponse.value.headersToRemove }
  }
  const denied = ({ httpResponse, status }: CheckResponse) => {
    if (httpResponse?.$case !== 'deniedResponse') throw new Error('it was allowed')
    expect(status?.code).toBeGreaterThan(0)
    const { status: http, headers, body } = httpResponse.value
    return { status: http!.code, headers: headersOf(headers), problem: JSON.parse(body) as Record<string, unknown> }
  }

  test('a valid key is exchanged for a token that services believe, in place of the key', async () => {
    const apiKey = at.add({ keyId: 'k1' })
    const { headers } = allowed(await check(bearer(apiKey)))
    const token = /^Bearer (.+)$/.exec(headers['authorization']!)![1]!
    expect(token).not.toContain(apiKey)
    expect(await verifier.caller(token)).toMatchObject({ workspace: 'acme', actor: 'ann', keyId: 'k1' })
    expect(headers['x-relay-source']).toBe('198.51.100.7')
  })

  test('headers of the mesh that a client sends are removed; those that replace them are not', async () => {
    const forged = { 'x-relay-peer': 'gateway', 'x-relay-source': '10.0.0.1', 'x-relay-anything': '1', 'grpc-timeout': '1S' }
    const { headers, removed } = allowed(await check({ ...bearer(at.add()), ...forged }))
    expect(headers['x-relay-source']).toBe('198.51.100.7')
    expect(removed.toSorted()).toEqual(['x-relay-anything', 'x-relay-peer'])
    const unknown = allowed(await check({ ...bearer(at.add()), ...forged }, { source: '' }))
    expect(unknown.headers).not.toHaveProperty('x-relay-source')
    expect(unknown.removed).toContain('x-relay-source')
  })

  test.each([
    ['no authorization', {}],
    ['another scheme', { authorization: 'Basic cmVsYXk6cmVsYXk=' }],
    ['two keys, joined as Envoy joins headers', { authorization: `Bearer ${newApiKey('test')},Bearer ${newApiKey('test')}` }],
    ['a caller token instead of a key', bearer(mesh.callerToken())],
    ['a key that never was', bearer(newApiKey('test'))],
    ['a key of another environment', bearer(newApiKey('prod'))],
    ['the header under another case, as only a forger sends it', { Authorization: `Bearer ${newApiKey('test')}` }],
  ])('%s: 401, a problem document that says how to sign in', async (_, headers) => {
    const { status, headers: sent, problem } = denied(await check(headers))
    expect(status).toBe(401)
    expect(sent).toMatchObject({ 'content-type': 'application/problem+json; charset=utf-8', 'www-authenticate': 'Bearer realm="relay"' })
    const reason = 'UNAUTHENTICATED'
    expect(problem).toMatchObject({ type: `/docs#${reason}`, title: 'Unauthenticated', status: 401, reason, request_id: requestId })
  })

  test.each(['/', '/healthz', '/ready', '/docs', '/grpc.health.v1.Health/Check', '/relay.access.v1.AccessService/Exchange', ''])(
    'no path is let through without a key: %s',
    async (path) => {
      expect(denied(await check({}, { path })).status).toBe(401)
    },
  )

  test('a key from an address where it may not be used: 403', async () => {
    const apiKey = at.add({ allowedSources: ['10.0.0.0/8'] })
    expect(denied(await check(bearer(apiKey)))).toMatchObject({ status: 403, problem: { reason: 'PERMISSION_DENIED' } })
    allowed(await check(bearer(apiKey), { source: '10.1.2.3' }))
    expect(denied(await check(bearer(apiKey))).status).toBe(403)
  })

  test('access without its store: 503 with Retry-After for new callers; known ones continue', async () => {
    const known = at.add()
    allowed(await check(bearer(known)))
    away = true
    const { status, headers } = denied(await check(bearer(at.add())))
    expect({ status, retry: headers['retry-after'] }).toEqual({ status: 503, retry: '1' })
    allowed(await check(bearer(known)))
  })

  test('an address that shows one new key after the other: 429', async () => {
    for (let shown = 0; shown < 10; shown += 1) expect(denied(await check(bearer(newApiKey('test')))).status).toBe(401)
    const { status, headers, problem } = denied(await check(bearer(newApiKey('test'))))
    expect({ status, reason: problem['reason'] }).toEqual({ status: 429, reason: 'SIGN_IN_LIMITED' })
    expect(Number(headers['retry-after'])).toBeGreaterThan(0)
  })

  test('a key in use costs one exchange, not one per request, and is rejected as soon as its revocation is known', async () => {
    const apiKey = at.add({ keyId: 'k1' })
    for (let request = 0; request < 50; request += 1) allowed(await check(bearer(apiKey)))
    expect(at.asked()).toBe(1)
    at.revoke(apiKey)
    verifier.update({ revocations: [{ keyId: 'k1', notAfterMs: 0 }] })
    expect(denied(await check(bearer(apiKey))).status).toBe(401)
    expect(at.denials).toEqual([expect.objectContaining({ reason: 'KEY_REVOKED', keyId: 'k1' })])
  })

  test('every refusal is counted once: by the exchange where it looked, here where it did not', async () => {
    const apiKey = newApiKey('test')
    for (let request = 0; request < 3; request += 1) denied(await check(bearer(apiKey)))
    denied(await check(bearer('nonsense')))
    expect([...at.denials, ...denials].map(({ reason, source }) => [reason, source])).toEqual([
      ['KEY_UNKNOWN', '198.51.100.7'],
      ['KEY_REFUSED', '198.51.100.7'],
      ['KEY_REFUSED', '198.51.100.7'],
      ['KEY_MALFORMED', '198.51.100.7'],
    ])
    expect(denials[0]).toMatchObject({ action: 'sign_in.refused', requestId })
  })

  test('only Envoy asks', async () => {
    for (const shown of ['', 'forged', mesh.peerToken('gateway')('access'), mesh.peerToken('envoy')('actions')]) {
      const error = await failureOf(ask({ attributes: undefined }, shown))
      expect(error).toBeInstanceOf(MeshError)
      expect(['UNAUTHENTICATED', 'PERMISSION_DENIED']).toContain(error.code)
    }
  })

  test('a request without attributes is denied, not an accident', async () => {
    expect(denied(await ask({ attributes: undefined })).status).toBe(401)
  })
})
