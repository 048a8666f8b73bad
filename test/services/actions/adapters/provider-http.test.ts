/** Calls to providers: what had no effect is told apart from what may have had one, and nothing that has one is sent twice. */
import { readGoogleError } from '#providers/google/errors.ts'
import net from 'node:net'
import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { ownContext } from '#mesh/grpc/call.ts'
import { meshErrors } from '#mesh/errors.ts'
import { type ApiCall, ApiFailure, apiReasons, providerApi } from '../../../../services/actions/adapters/provider-http.ts'
import type { Connections } from '../../../../services/actions/connections.ts'
import { type ReceiverResponse, type Receiver, startReceiver } from '../../../fakes/receiver.ts'
import { run } from '../adapter-harness.ts'

const open: Receiver[] = []
afterEach(async () => {
  for (const each of open.splice(0)) await each.close()
})

async function provider(
  respond: (index: number) => ReceiverResponse | Promise<ReceiverResponse>,
  options: { timeoutMs?: number; maxResponseBytes?: number } = {},
) {
  const receiver = await startReceiver({ respond: (_delivered, index) => respond(index) })
  open.push(receiver)
  const refused: (string | undefined)[] = []
  const connections: Connections = {
    find: () => Promise.reject(new Error('nobody asks')),
    async token(_owned, _context, bad) {
      refused.push(bad)
      return { accessToken: `token-${refused.length}`, scopes: [] }
    },
  }
  const api = providerApi({
    provider: 'google',
    readError: readGoogleError,
    baseUrl: new URL(`${receiver.url}/base/`),
    connections,
    retryMs: 1,
    timeoutMs: 1_000,
    ...options,
  })
  const call = (over: Partial<ApiCall> = {}, part: Parameters<typeof run>[0] = {}) =>
    api.call(run({ connectionId: 'c', context: ownContext(), ...part }), {
      method: 'POST',
      path: '/things',
      json: { a: 1 },
      effect: true,
      ...over,
    })
  return { receiver, refused, call }
}

const failure = async (call: Promise<unknown>): Promise<ApiFailure> => {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(ApiFailure)
  expect(apiReasons).toContain((error as ApiFailure).reason)
  return error as ApiFailure
}

test('a call is one JSON request with the token, below the base URL', async () => {
  const { receiver, call } = await provider(() => ({ body: '{"ok":true}' }))
  expect(await call({ query: { q: 'a b&c' }, headers: { prefer: 'x' } })).toEqual({ status: 200, json: { ok: true } })
  const [sent] = receiver.deliveries
  expect(sent).toMatchObject({
    method: 'POST',
    url: '/base/things?q=a+b%26c',
    headers: { authorization: 'Bearer token-1', 'content-type': 'application/json', prefer: 'x' },
  })
  expect(JSON.parse(sent!.body.toString())).toEqual({ a: 1 })
})

test.each<[string, ReceiverResponse, ApiFailure['kind'], string]>([
  ['302', { status: 302, headers: { location: '/elsewhere' } }, 'refused', 'PROVIDER_REFUSED'],
  [
    '400',
    { status: 400, body: '{"error":{"errors":[{"reason":"invalidArgument","message":"secret words"}]}}' },
    'refused',
    'PROVIDER_REFUSED',
  ],
  ['403', { status: 403 }, 'refused', 'PROVIDER_FORBIDDEN'],
  ['404', { status: 404 }, 'refused', 'PROVIDER_NOT_FOUND'],
  ['409', { status: 409 }, 'refused', 'PROVIDER_CONFLICT'],
  ['429', { status: 429, headers: { 'retry-after': '7' } }, 'refused', 'PROVIDER_RATE_LIMITED'],
  ['429 and a body that ends in the middle', { status: 429, drop: 'after' }, 'refused', 'PROVIDER_RATE_LIMITED'],
  ['500', { status: 500 }, 'unclear', 'PROVIDER_ERROR'],
  ['a cut connection', { drop: 'before' }, 'unclear', 'PROVIDER_CONNECTION_LOST'],
  ['200 and no JSON', { body: '<html>' }, 'unclear', 'PROVIDER_GARBLED'],
  ['200 and half a body', { body: '{"a":', drop: 'after' }, 'unclear', 'PROVIDER_GARBLED'],
  ['200 and too much', { body: JSON.stringify('x'.repeat(5000)) }, 'unclear', 'PROVIDER_GARBLED'],
])('what sends is sent once, and %s is told apart', async (_, response, kind, reason) => {
  const { receiver, call } = await provider(() => response, { maxResponseBytes: 2000 })
  const error = await failure(call())
  expect(error).toMatchObject({ kind, reason })
  expect(error.message).not.toMatch(/secret|token-/)
  expect(receiver.deliveries).toHaveLength(1)
})

test('the code of a rejection is reported, and when to retry', async () => {
  const body = '{"error":{"status":"RESOURCE_EXHAUSTED","errors":[{"reason":"userRateLimitExceeded"}]}}'
  const { call } = await provider(() => ({ status: 429, headers: { 'retry-after': '7' }, body }))
  expect(await failure(call())).toMatchObject({ message: 'google answered 429 (userRateLimitExceeded).', retryAfterMs: 7000 })
})

test('no response in time is unclear', async () => {
  const { receiver, call } = await provider(() => new Promise(() => undefined), { timeoutMs: 100 })
  expect(await failure(call())).toMatchObject({ kind: 'unclear', reason: 'PROVIDER_TIMEOUT' })
  expect(receiver.deliveries).toHaveLength(1)
})

test('a kept connection that is cut is not used to send again', async () => {
  const { receiver, call } = await provider((index) => (index === 0 ? { body: '{}' } : { drop: 'before' }))
  await call()
  // The connection is free again a turn after the answer was read.
  await turn()
  expect(await failure(call())).toMatchObject({ kind: 'unclear' })
  expect(receiver.deliveries).toHaveLength(2)
  expect(receiver.connections).toBe(1)
})

describe('a 401', () => {
  test('leads to one more attempt with a fresh token, naming the rejected one', async () => {
    const { receiver, refused, call } = await provider((index) => (index === 0 ? { status: 401 } : { body: '{}' }))
    expect(await call()).toMatchObject({ status: 200 })
    expect(refused).toEqual([undefined, 'token-1'])
    expect(receiver.deliveries.map(({ headers }) => headers.authorization)).toEqual(['Bearer token-1', 'Bearer token-2'])
  })

  test('twice is a rejection', async () => {
    const { receiver, call } = await provider(() => ({ status: 401 }))
    expect(await failure(call())).toMatchObject({ kind: 'refused', reason: 'PROVIDER_UNAUTHORIZED' })
    expect(receiver.deliveries).toHaveLength(2)
  })
})

describe('a read', () => {
  test.each<[string, ReceiverResponse]>([
    ['503', { status: 503 }],
    ['429', { status: 429 }],
    ['a cut connection', { drop: 'before' }],
  ])('is asked again after %s', async (_, response) => {
    const { receiver, call } = await provider((index) => (index < 2 ? response : { body: '{}' }))
    expect(await call({ method: 'GET', json: undefined, effect: false })).toMatchObject({ status: 200 })
    expect(receiver.deliveries).toHaveLength(3)
  })

  test('is tried at most three times, and never after a final response', async () => {
    const { receiver, call } = await provider((index) => ({ status: index < 3 ? 503 : 404 }))
    const read = () => failure(call({ method: 'GET', json: undefined, effect: false }))
    expect(await read()).toMatchObject({ reason: 'PROVIDER_ERROR' })
    expect(receiver.deliveries).toHaveLength(3)
    expect(await read()).toMatchObject({ reason: 'PROVIDER_NOT_FOUND' })
    expect(receiver.deliveries).toHaveLength(4)
  })
})

describe('nothing is sent', () => {
  test('if nothing listens', async () => {
    const server = net.createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as net.AddressInfo
    server.close()
    await once(server, 'close')
    const connections: Connections = { find: () => Promise.reject(new Error()), token: async () => ({ accessToken: 't', scopes: [] }) }
    const api = providerApi({ provider: 'google', readError: readGoogleError, baseUrl: new URL(`http://127.0.0.1:${port}`), connections })
    expect(await failure(api.call(run({ connectionId: 'c' }), { method: 'POST', path: '/' }))).toMatchObject({
      kind: 'not-sent',
      reason: 'PROVIDER_UNREACHABLE',
    })
  })

  test('without a connection, without a token, or after the run was stopped', async () => {
    const { receiver, call } = await provider(() => ({}))
    expect(await failure(call({}, { connectionId: undefined }))).toMatchObject({ kind: 'not-sent', reason: 'CONNECTION_UNUSABLE' })
    expect(await failure(call({}, { signal: AbortSignal.abort() }))).toMatchObject({ kind: 'not-sent', reason: 'RUN_STOPPED' })
    for (const [thrown, reason] of [
      [meshErrors.DEPENDENCY_UNAVAILABLE(), 'TOKEN_UNAVAILABLE'],
      [meshErrors.PERMISSION_DENIED(), 'CONNECTION_UNUSABLE'],
    ] as const) {
      const connections: Connections = { find: () => Promise.reject(new Error()), token: () => Promise.reject(thrown) }
      const api = providerApi({ provider: 'google', readError: readGoogleError, baseUrl: new URL(receiver.url), connections })
      expect(await failure(api.call(run({ connectionId: 'c' }), { method: 'POST', path: '/' }))).toMatchObject({ kind: 'not-sent', reason })
    }
    expect(receiver.deliveries).toEqual([])
  })

  test('by a process that no longer owns the run, even if that shows only after the token arrived', async () => {
    const { receiver, refused, call } = await provider(() => ({}))
    const gone = new Error('no longer held')
    const assertHeld = async () => {
      if (refused.length > 0) throw gone
    }
    await expect(call({}, { assertHeld })).rejects.toBe(gone)
    expect(receiver.deliveries).toEqual([])
  })
})
