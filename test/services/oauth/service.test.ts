import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { OAuthServiceService } from '#gen/relay/oauth/v1/oauth.ts'
import { type Context, ownContext } from '#mesh/grpc/call.ts'
import { Channel, type Methods, methodsOf } from '#mesh/grpc/client.ts'
import { Health } from '#mesh/grpc/health.ts'
import { GrpcServer } from '#mesh/grpc/server.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { oauthService } from '../../../services/oauth/service.ts'
import { fakeMesh } from '../../fakes/identity.ts'
import { type Harness, openHarness } from './connect/harness.ts'

const mesh = fakeMesh()
const as = (actor: string, permissions = ['connections:read', 'connections:write'], workspace = 'acme'): Context => ({
  ...ownContext(),
  callerToken: mesh.callerToken({ workspace, actor, keyId: 'a-key', permissions }),
})
const refusal = (reason: string) => expect.objectContaining({ reason }) as Error

describe('the oauth service, for callers and browsers', () => {
  let harness: Harness
  let server: GrpcServer
  let channel: Channel
  let client: Methods<typeof OAuthServiceService>
  let address: string
  beforeAll(async () => {
    harness = await openHarness()
    const metrics = new Metrics('oauth')
    const tokens = { token: () => Promise.reject(new Error('nobody asks for a token here')) }
    server = new GrpcServer({
      services: [oauthService({ ...harness, tokens })],
      verifier: mesh.verifierFor('oauth'),
      health: new Health({ services: ['relay.oauth.v1.OAuthService'] }),
      log: createLogger('oauth', 'silent'),
      metrics,
    })
    address = `127.0.0.1:${await server.listen({ host: '127.0.0.1', port: 0 })}`
    channel = new Channel({ address, service: 'oauth', peerToken: mesh.peerToken('gateway'), metrics })
    client = methodsOf(OAuthServiceService, channel)
  })
  afterAll(async () => {
    channel.close()
    await server.drain(1000)
    await harness.close()
  })

  const browser = (source: string): Context => ({ ...ownContext(), source })
  const nothing = { errorDescription: '', scope: '', authuser: '', prompt: '', hd: '', sessionState: '' }

  test('an account is connected, listed and disconnected; only its owner sees it', async () => {
    const begun = await client.authorize({ provider: 'example', scopes: [], returnTo: '' }, as('ann'))
    expect(begun.expiresAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    const ticket = harness.ticketOf(begun.startUrl)
    const shown = await client.start({ ticket, cookie: '' }, browser('198.51.100.7'))
    const proof = { formToken: harness.formTokenOf(shown), cookie: harness.cookieOf(shown) }
    const sent = await client.continue({ ticket, ...proof }, browser('198.51.100.7'))
    expect(sent.status).toBe(200)
    const cookie = harness.cookieOf({ ...sent })
    const back = { ...nothing, provider: 'example', error: '', cookie, ...harness.server.consent(sent.forward) }
    const page = await client.callback(back, browser('198.51.100.7'))
    expect(page).toMatchObject({ status: 200, location: '', html: expect.stringContaining('ann@example.com is connected') as string })

    const { connections } = await client.listConnections({}, as('ann'))
    expect(connections).toEqual([
      expect.objectContaining({ provider: 'example', account: 'ann@example.com', status: 'connected', reason: undefined }),
    ])
    const { connectionId } = connections[0]!
    for (const other of [as('bob'), as('ann', undefined, 'other')]) {
      expect((await client.listConnections({}, other)).connections).toEqual([])
      await expect(client.disconnect({ connectionId }, other)).rejects.toThrow(refusal('CONNECTION_NOT_FOUND'))
    }
    expect(await client.disconnect({ connectionId }, as('ann'))).toMatchObject({ revoked: true })
    expect((await client.listConnections({}, as('ann'))).connections).toEqual([])

    const events = await harness.events()
    expect(events.map(({ action }) => action).toSorted()).toEqual(['connection.made', 'connection.removed'])
    expect(events.find(({ action }) => action === 'connection.made')).toMatchObject({
      actor: 'ann',
      keyId: 'a-key',
      source: '198.51.100.7',
    })
  })

  test('who may only look connects nothing', async () => {
    const viewer = as('ann', ['connections:read'])
    await expect(client.authorize({ provider: 'example', scopes: [], returnTo: '' }, viewer)).rejects.toThrow(refusal('PERMISSION_DENIED'))
    await expect(client.authorize({ provider: 'example', scopes: [], returnTo: '' }, ownContext())).rejects.toThrow(
      refusal('UNAUTHENTICATED'),
    )
  })

  test('which providers are configured, and what the others lack, is said to actions alone, and no value with it', async () => {
    const asActions = new Channel({ address, service: 'oauth', peerToken: mesh.peerToken('actions') })
    const { providers } = await methodsOf(OAuthServiceService, asActions).listProviders({}, ownContext())
    asActions.close()
    expect(providers).toEqual([
      { name: 'example', configured: true, missing: [] },
      { name: 'discovered', configured: true, missing: [] },
      { name: 'granting', configured: true, missing: [] },
      { name: 'second', configured: true, missing: [] },
      { name: 'unset', configured: false, missing: ['UNSET_ID', 'UNSET_SECRET'] },
    ])
    await expect(client.listProviders({}, ownContext())).rejects.toThrow(refusal('PERMISSION_DENIED'))
  })

  test('a browser that comes with nothing is shown a page, not an error', async () => {
    expect(await client.start({ ticket: 'x', cookie: '' }, browser('198.51.100.7'))).toMatchObject({ status: 400, location: '' })
    const back = { ...nothing, provider: 'example', state: '', code: '', iss: '', error: '', cookie: '' }
    expect(await client.callback(back, browser('198.51.100.7'))).toMatchObject({ status: 400, setCookies: [] })
  })
})
