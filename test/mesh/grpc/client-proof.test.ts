/** How a channel shows who we are. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { IdempotencyServiceService } from '#gen/relay/idempotency/v1/idempotency.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import type { PeerToken } from '#mesh/grpc/caller.ts'
import { Channel, type ChannelParts, methodsOf } from '#mesh/grpc/client.ts'
import { type TestServer, connect, mesh, peerToken, requests, startServer, verifier } from '../../fixtures/mesh/server.ts'

let server: TestServer
/** What each call showed that arrived, as the server verifies it: once. */
let shown: string[] = []
const channels: Channel[] = []
beforeAll(async () => {
  server = await startServer({
    verifier: {
      caller: (token) => verifier.caller(token),
      peer: (token) => {
        shown.push(token)
        return verifier.peer(token)
      },
    },
  })
})
afterAll(async () => {
  for (const channel of channels) channel.close()
  await server.stop()
})
beforeEach(() => (shown = []))

const complete = async (parts: Pick<ChannelParts, 'service' | 'peerToken'>, times = 1) => {
  const channel = new Channel({ address: server.address, ...parts })
  channels.push(channel)
  for (let time = 0; time < times; time += 1) await methodsOf(IdempotencyServiceService, channel).complete(requests.complete, ownContext())
}

test('each service gets a proof made for it', async () => {
  const asked: string[] = []
  const asking: PeerToken = (service) => {
    asked.push(service)
    return peerToken(service)
  }
  const client = connect(server.address, asking)
  channels.push(client.channel)
  await client.idempotency.complete(requests.complete, ownContext())
  await client.actions.listActions({}, { ...ownContext(), callerToken: mesh.callerToken() })
  expect(asked).toEqual(['idempotency', 'actions'])
})

test('a channel with the name of its service sends a proof made for it', async () => {
  const proof = peerToken('actions')
  await complete({ service: 'actions', peerToken: (service) => (service === 'actions' ? proof : 'none') })
  expect(shown).toEqual([proof])
})

test('the proof is current at each call, even if it must be awaited', async () => {
  const proofs = [peerToken('idempotency'), mesh.peerToken('gateway')('idempotency')]
  await complete({ peerToken: async () => proofs[shown.length]! }, 2)
  expect(shown).toEqual(proofs)
})

test('a failing proof fails the call, which is not sent', async () => {
  const failing = complete({ peerToken: () => Promise.reject(new Error('no key')) })
  await expect(failing).rejects.toMatchObject({ reason: 'INTERNAL' })
  expect(shown).toEqual([])
})
