import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { AccessServiceService } from '#gen/relay/access/v1/access.ts'
import { newApiKey } from '#mesh/api-key.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import type { PeerToken } from '#mesh/grpc/caller.ts'
import { Channel, methodsOf } from '#mesh/grpc/client.ts'
import { accessService } from '../../../../services/access/tokens/service.ts'
import { fakeMesh } from '../../../fakes/identity.ts'
import { type TestServer, failureOf, startServer } from '../../../fixtures/mesh/server.ts'
import { openHarness } from './harness.ts'

describe('AccessService over gRPC', () => {
  const mesh = fakeMesh()
  const at = openHarness()
  const news = {
    signingKeys: [at.signer],
    revocations: [{ sequence: 7, keyId: 'k', notAfter: new Date('2026-01-02T03:04:05.000Z') }],
    sequence: 7,
    signatures: {
      states: [{ workspace: 'acme', purpose: 'inbound', generation: 2, previous: 1 } as const],
      sequence: 3,
      more: false,
      rootId: 'r',
    },
  }
  let server: TestServer
  const channels: Channel[] = []
  beforeAll(async () => {
    const service = accessService({ exchange: at.exchange, feed: async () => news })
    server = await startServer({ more: [service], verifier: mesh.verifierFor('access') })
    outsider = clientOf()
  })
  afterAll(async () => {
    for (const channel of channels) channel.close()
    await server.stop()
  })
  const clientOf = (peerToken?: PeerToken) => {
    const channel = new Channel({ address: server.address, peerToken })
    channels.push(channel)
    return methodsOf(AccessServiceService, channel)
  }
  let outsider: ReturnType<typeof clientOf>
  const lastSource = () => at.denials.at(-1)!.source

  test('anyone may exchange a key; the response says where the key may be used from', async () => {
    const apiKey = at.add({ keyId: 'k1', permissions: ['actions:read'], allowedSources: ['127.0.0.0/8'] })
    const response = await outsider.exchange({ apiKey }, ownContext())
    const told = { workspace: 'acme', actor: 'ann', keyId: 'k1', permissions: ['actions:read'], allowedSources: ['127.0.0.0/8'] }
    expect(response).toMatchObject(told)
    expect(response.expiresAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  })

  test('an outsider, by way of Envoy too, is where the connection says, whatever they claim', async () => {
    const apiKey = at.add({ allowedSources: ['10.0.0.0/8'] })
    const envoy = clientOf(() => mesh.peerToken('envoy')('access'))
    const claims = [outsider, envoy].flatMap((client) => [
      () => client.exchange({ apiKey, source: '10.0.0.1' }, ownContext()),
      () => client.exchange({ apiKey }, { ...ownContext(), source: '10.0.0.1' }),
    ])
    for (const claim of claims) {
      expect(await failureOf(claim())).toMatchObject({ code: 'PERMISSION_DENIED' })
      expect(lastSource()).toBe('127.0.0.1')
    }
  })

  test('a peer may say where a key came from, in the request or beside it', async () => {
    const gateway = clientOf(mesh.peerToken('gateway'))
    const apiKey = at.add({ allowedSources: ['10.0.0.0/8'] })
    await expect(gateway.exchange({ apiKey, source: '10.0.0.1' }, ownContext())).resolves.toBeDefined()
    await expect(gateway.exchange({ apiKey }, { ...ownContext(), source: '10.0.0.1' })).resolves.toBeDefined()
    await failureOf(gateway.exchange({ apiKey, source: '192.0.2.1' }, { ...ownContext(), source: '10.0.0.1' }))
    expect(lastSource()).toBe('192.0.2.1')
    await failureOf(gateway.exchange({ apiKey, source: 'not an address' }, { ...ownContext(), source: '10.0.0.1' }))
    expect(lastSource()).toBe('')
  })

  test('a forged peer is refused before its key is looked at', async () => {
    const [asked, forger] = [at.asked(), clientOf(() => 'forged')]
    const error = await failureOf(forger.exchange({ apiKey: newApiKey('test'), source: '10.0.0.1' }, ownContext()))
    expect(error.code).toBe('UNAUTHENTICATED')
    expect(at.asked()).toBe(asked)
  })

  test('Follow is for services of the mesh alone', async () => {
    expect(await failureOf(outsider.follow({ after: 0, signaturesAfter: 0 }, ownContext()))).toMatchObject({ code: 'UNAUTHENTICATED' })
    const followed = await clientOf(mesh.peerToken('actions')).follow({ after: 0, signaturesAfter: 0 }, ownContext())
    expect(followed).toEqual({
      signingKeys: [at.signer],
      revocations: [{ sequence: 7, keyId: 'k', notAfter: '2026-01-02T03:04:05.000Z' }],
      sequence: 7,
      signatures: {
        states: [{ workspace: 'acme', purpose: 'inbound', generation: 2, previousGeneration: 1 }],
        sequence: 3,
        more: false,
        rootId: 'r',
      },
    })
  })
})
