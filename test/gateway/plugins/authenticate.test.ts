import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { newApiKey } from '#mesh/api-key.ts'
import { meshErrors } from '#mesh/errors.ts'
import { type TestGateway, apiKey, startGateway } from '../gateway.ts'

let gateway: TestGateway
/** Behind a proxy, which says where requests come from. */
let proxied: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
  proxied = await startGateway({ TRUSTED_PROXIES: '127.0.0.1' })
})
afterAll(() => Promise.all([gateway.stop(), proxied.stop()]))
afterEach(() => {
  gateway.actions.asked.length = 0
  gateway.refused.length = 0
  proxied.actions.asked.length = 0
  proxied.refused.length = 0
})

const list = (key: string, harness = gateway, headers: Record<string, string> = {}) =>
  harness.call('/actions', { headers: { authorization: `Bearer ${key}`, ...headers } })
const from = (address: string) => ({ 'x-forwarded-for': address })

/** A key that access knows. */
function known(harness = gateway, caller: Parameters<TestGateway['keys']['set']>[1] = {}): string {
  const key = newApiKey('test')
  harness.keys.set(key, { keyId: `id of ${key.slice(-6)}`, ...caller })
  return key
}
/** How often access was asked for a key meanwhile. */
async function exchangesOf(work: () => Promise<unknown>, harness = gateway): Promise<number> {
  const before = harness.access.exchanged()
  await work()
  return harness.access.exchanged() - before
}

test('a client is told of its key, and never of the token that a service misses', async () => {
  const { listActions } = gateway.actions.handlers
  gateway.actions.handlers.listActions = () => Promise.reject(meshErrors.UNAUTHENTICATED({ message: 'This caller token is not valid.' }))
  const response = await list(known())
  gateway.actions.handlers.listActions = listActions
  expect([response.status, await response.json()]).toEqual([
    401,
    expect.objectContaining({ detail: 'No valid credentials: send Authorization: Bearer <API key>.' }),
  ])
})

describe('a key', () => {
  test('is exchanged once for a hundred requests at the same time, and not again', async () => {
    const key = known()
    const exchanges = await exchangesOf(async () => {
      const responses = await Promise.all(Array.from({ length: 100 }, () => list(key)))
      expect(responses.map(({ status }) => status)).toEqual(Array.from({ length: 100 }, () => 200))
      expect((await list(key)).status).toBe(200)
    })
    expect(exchanges).toBe(1)
    expect(new Set(gateway.actions.asked.map(({ call }) => call.callerToken)).size).toBe(1)
  })

  test('with a wrong checksum never reaches access', async () => {
    const wrong = apiKey.slice(0, -1) + (apiKey.endsWith('0') ? '1' : '0')
    expect(await exchangesOf(async () => expect((await list(wrong)).status).toBe(401))).toBe(0)
    expect(gateway.refused).toMatchObject([{ action: 'sign_in.refused', reason: 'KEY_MALFORMED', keyId: '', source: '127.0.0.1' }])
  })

  test('that is unknown is asked for once, however often it comes', async () => {
    const unknown = newApiKey('test')
    const exchanges = await exchangesOf(async () => {
      for (let time = 0; time < 5; time += 1) expect((await list(unknown)).status).toBe(401)
    })
    expect(exchanges).toBe(1)
    // Access counted the first itself.
    expect(gateway.refused.map(({ reason }) => reason)).toEqual(Array.from({ length: 4 }, () => 'KEY_REFUSED'))
  })

  test('is refused once it is revoked, within five seconds, in the name of its owner', async () => {
    const key = known(gateway, { keyId: 'revoked-key' })
    expect((await list(key)).status).toBe(200)
    gateway.keys.delete(key)
    gateway.mesh.revocations.push({ keyId: 'revoked-key', notAfterMs: Date.now() })
    await expect.poll(async () => (await list(key)).status, { timeout: 5000 }).toBe(401)
    gateway.refused.length = 0
    expect((await list(key)).status).toBe(401)
    expect(gateway.refused).toMatchObject([{ reason: 'KEY_REFUSED', workspace: 'acme', actor: 'ann', keyId: 'revoked-key' }])
  })

  test('is not asked for where there is none: nobody tried to sign in', async () => {
    expect((await fetch(`${gateway.url}/actions`)).status).toBe(401)
    expect(gateway.refused).toEqual([])
  })

  test('is what signs in here: a caller token that services believe is not', async () => {
    const token = gateway.mesh.callerToken()
    expect(await gateway.mesh.verifierFor('actions').caller(token)).toBeDefined()
    expect(await exchangesOf(async () => expect((await list(token)).status).toBe(401))).toBe(0)
    expect(gateway.actions.asked).toEqual([])
  })

  test('lacking the permission of a route is refused there, and that is counted', async () => {
    const key = known(gateway, { permissions: ['actions:read'], keyId: 'reader' })
    const response = await gateway.call('/actions/execute', { body: { preview_id: 'p' }, headers: { authorization: `Bearer ${key}` } })
    expect(response.status).toBe(403)
    expect(gateway.actions.asked).toEqual([])
    expect(gateway.refused).toMatchObject([
      { action: 'permission.refused', reason: 'PERMISSION_DENIED', workspace: 'acme', actor: 'ann', keyId: 'reader', source: '127.0.0.1' },
    ])
    expect(gateway.refused[0]!.requestId).toBe(response.headers.get('x-request-id'))
  })

  test('stands in no log line, whatever became of it', async () => {
    const keys = [known(), newApiKey('test'), `${apiKey}x`]
    for (const key of keys) await list(key)
    await expect.poll(() => gateway.logged.length).toBeGreaterThan(0)
    for (const key of keys) expect(JSON.stringify(gateway.logged)).not.toContain(key)
  })
})

describe('where a request comes from', () => {
  test('is told to the service', async () => {
    await list(known(proxied), proxied, from('192.0.2.7'))
    await list(known(proxied), proxied, from('::ffff:192.0.2.8'))
    expect(proxied.actions.asked.map(({ call }) => call.source)).toEqual(['192.0.2.7', '192.0.2.8'])
  })

  test('decides over a key that is bound to networks, each time', async () => {
    const key = known(proxied, { allowedSources: ['192.0.2.0/24'] })
    expect((await list(key, proxied, from('192.0.2.7'))).status).toBe(200)
    const refused = await list(key, proxied, from('198.51.100.7'))
    expect(refused.status).toBe(403)
    expect(proxied.refused).toMatchObject([{ action: 'sign_in.refused', reason: 'SOURCE_REFUSED', actor: 'ann', source: '198.51.100.7' }])
    expect((await list(key, proxied, from('192.0.2.8'))).status).toBe(200)
    // Who says of himself that he comes from there comes from where the proxy says.
    expect((await list(key, proxied, from('192.0.2.7, 198.51.100.7'))).status).toBe(403)
  })

  test('is not what the client says of itself', async () => {
    const key = known(gateway, { allowedSources: ['192.0.2.0/24'] })
    const forged = { 'x-relay-source': '192.0.2.7', 'x-forwarded-for': '192.0.2.7', 'x-real-ip': '192.0.2.7', forwarded: 'for=192.0.2.7' }
    expect((await list(key, gateway, forged)).status).toBe(403)
  })
})

test('headers that only the mesh writes change nothing when a client writes them', async () => {
  const forged = {
    'x-relay-source': '192.0.2.7',
    'x-relay-peer': gateway.mesh.peerToken('idempotency')('actions'),
    'x-relay-workspace': 'other',
    'x-relay-next-page': 'x',
    'grpc-timeout': '1n',
    'grpc-status-details-bin': 'AAAA',
    'grpc-accept-encoding': 'gzip',
  }
  const response = await list(apiKey, gateway, forged)
  expect(response.status).toBe(200)
  const { call } = gateway.actions.asked[0]!
  expect(call.peer).toBe('gateway')
  expect(call.source).toBe('127.0.0.1')
  expect(call.caller).toMatchObject({ workspace: 'default', actor: 'tester' })
  expect(call.deadline - Date.now()).toBeGreaterThan(1000)
})

test('while access is away, whom we know goes on until the token ends, and who is new is told when to come back', async () => {
  const other = await startGateway()
  try {
    const [short, stranger] = [known(other, { lifeS: 4, keyId: 'short' }), known(other)]
    expect((await list(apiKey, other)).status).toBe(200)
    expect((await list(short, other)).status).toBe(200)
    await other.access.stop()

    const refused = await list(stranger, other)
    expect(refused.status).toBe(503)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await refused.json()).toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
    expect((await list(short, other)).status).toBe(200)
    await expect.poll(async () => (await list(short, other)).status, { timeout: 6000 }).toBe(503)
    expect((await list(apiKey, other)).status).toBe(200)
    expect(other.refused).toEqual([])
  } finally {
    await other.stop()
  }
})
