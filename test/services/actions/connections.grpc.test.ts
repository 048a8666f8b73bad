/** The oauth service over real gRPC, as actions sees it. */
import { createHash } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { MeshError, errorTable, meshErrors } from '#mesh/errors.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import type { Verifier } from '#mesh/grpc/caller.ts'
import { Channel } from '#mesh/grpc/client.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { grpcConnections, connectionsThroughOauth } from '../../../services/actions/connections.grpc.ts'
import { type Connections, noConnections } from '../../../services/actions/connections.ts'
import { type OAuthStandIn, startOAuth, usual } from '../../fakes/oauth-service.ts'
import { until } from '../../fixtures/mesh/until.ts'

/** Whoever shows a token is the actions service here. */
const verifier: Verifier = { caller: () => undefined, peer: (token) => (token === '' ? undefined : 'actions') }
const owner = { workspace: 'acme', actor: 'ada', provider: 'google' } as const
const connectionId = '5c0d1c1e-0000-4000-8000-000000000001'

let oauth: OAuthStandIn
let channel: Channel
let connections: Connections
beforeAll(async () => {
  oauth = await startOAuth(verifier)
  channel = new Channel({ address: oauth.address, service: 'oauth', peerToken: async () => 'actions' })
  connections = grpcConnections(channel)
})
afterAll(async () => {
  channel?.close()
  await oauth?.stop()
})

test('a connection is found by its owner, and an unknown state cannot act', async () => {
  expect(await connections.find(owner, ownContext())).toMatchObject({
    configured: true,
    connection: { connectionId, status: 'connected' },
    authorizePath: '/oauth/google/authorize',
  })
  expect(oauth.requests.at(-1)?.request).toEqual({ owner })
  oauth.handlers.getConnection = async (request, call) => {
    const response = await usual.getConnection(request, call)
    return response instanceof Uint8Array ? response : { ...response, connection: { ...response.connection!, status: 'paused' } }
  }
  expect(await connections.find(owner, ownContext())).toMatchObject({ connection: { status: 'reauth_required' } })
  oauth.handlers.getConnection = async () => ({ configured: true, missing: [], connection: undefined, authorizePath: '/a' })
  expect(await connections.find(owner, ownContext())).toEqual({ configured: true, connection: undefined, authorizePath: '/a' })
  oauth.handlers.getConnection = async () => ({
    configured: false,
    missing: ['GOOGLE_CLIENT_ID'],
    connection: undefined,
    authorizePath: '',
  })
  expect(await connections.find(owner, ownContext())).toEqual({ configured: false, missing: ['GOOGLE_CLIENT_ID'] })
})

test('a token is requested by its connection; a rejected one is named by its hash and never sent', async () => {
  expect(await connections.token({ ...owner, connectionId }, ownContext(), 'refused-token')).toEqual({
    accessToken: 'token',
    scopes: ['openid', 'email'],
  })
  const { request } = oauth.requests.at(-1)!
  expect(request).toEqual({ owner, connectionId, refusedTokenSha256: createHash('sha256').update('refused-token').digest('hex') })
  expect(JSON.stringify(request)).not.toContain('refused-token')
})

test("the oauth service's own refusals come through, all else is not knowing", async () => {
  const table = errorTable('oauth', { GONE: { code: 'FAILED_PRECONDITION', message: 'gone' } })
  for (const [thrown, reason] of [
    [table.GONE(), 'GONE'],
    [meshErrors.INTERNAL(), 'DEPENDENCY_UNAVAILABLE'],
    [meshErrors.PERMISSION_DENIED(), 'DEPENDENCY_UNAVAILABLE'],
  ] as const) {
    oauth.handlers.getToken = () => Promise.reject(thrown)
    oauth.handlers.getConnection = () => Promise.reject(thrown)
    const refused = await connections.token({ ...owner, connectionId }, ownContext()).catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(MeshError)
    expect(refused).toMatchObject({ reason })
    await expect(connections.find(owner, ownContext())).rejects.toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
  }
})

test('the unconfigured providers are requested as a peer, without an owner', async () => {
  const stops: (() => unknown)[] = []
  const runtime = { log: createLogger('actions', 'silent'), onStop: (_: string, stop: () => unknown) => void stops.push(stop) }
  oauth.handlers.listProviders = async () => ({
    providers: [
      { name: 'google', configured: true, missing: [] },
      { name: 'microsoft', configured: false, missing: ['MICROSOFT_CLIENT_ID'] },
    ],
  })
  const { providers } = connectionsThroughOauth(runtime, () => channel, oauth.address)
  try {
    await until('they are known', () => providers.unavailable('microsoft') !== undefined)
    expect(providers.unavailable('microsoft')).toContain('set MICROSOFT_CLIENT_ID')
    expect(providers.unavailable('google')).toBe(undefined)
    const { call } = oauth.requests.find(({ method }) => method === 'listProviders')!
    expect([call.peer, call.caller]).toEqual(['actions', undefined])
  } finally {
    for (const stop of stops) await stop()
  }
  expect(connectionsThroughOauth(runtime, () => channel, undefined)).toMatchObject({ connections: noConnections })
})

test('without a channel nothing can be connected', () => {
  expect(grpcConnections(undefined)).toBe(noConnections)
})
