import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { AuditServiceService, type AuditEvent as EventMessage } from '#gen/relay/access/v1/audit.ts'
import { deliver } from '#mesh/audit/delivery.ts'
import { appendClient } from '#mesh/audit/client.ts'
import type { PeerToken } from '#mesh/grpc/caller.ts'
import { Channel } from '#mesh/grpc/client.ts'
import { Health } from '#mesh/grpc/health.ts'
import { GrpcServer, served } from '#mesh/grpc/server.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { mesh } from '../../fixtures/mesh/server.ts'
import { anEvent } from './events.ts'

let server: GrpcServer
let address: string
let taken: { peer: string | undefined; events: EventMessage[] }[]
const channels: Channel[] = []

beforeAll(async () => {
  const unused = () => expect.unreachable('nobody reads here')
  const service = served(AuditServiceService, {
    async appendEvents({ events }, { peer }) {
      taken.push({ peer, events })
      return {}
    },
    listEvents: unused,
    exportEvents: unused,
  })
  const log = createLogger('access', 'fatal')
  const parts = {
    services: [service],
    verifier: mesh.verifierFor('access'),
    health: new Health({ services: [] }),
    log,
    metrics: new Metrics('t'),
  }
  server = new GrpcServer(parts)
  address = `127.0.0.1:${await server.listen({ host: '127.0.0.1', port: 0 })}`
})
afterAll(async () => {
  for (const channel of channels) channel.close()
  await server.drain(0)
})
beforeEach(() => (taken = []))

const appending = (peerToken?: PeerToken) => {
  const channel = new Channel({ address, service: 'access', peerToken })
  channels.push(channel)
  return appendClient(channel)
}

describe('events on their way to access', () => {
  test('arrive as they were written, from the service that proves its name', async () => {
    const events = [anEvent(), { ...anEvent({ outcome: 'refused', reason: 'NO', targets: ['run:1', 'preview:2'] }), count: 4_000_000_000 }]
    await appending(mesh.peerToken('actions'))(events)
    expect(taken).toEqual([{ peer: 'actions', events }])
  })

  test('are not accepted from anyone else', async () => {
    await expect(appending()([anEvent()])).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
    expect(taken).toEqual([])
  })

  test('that the contract does not allow are separated from the others, which arrive', async () => {
    const bad = [
      { ...anEvent(), eventId: 'no-uuid' },
      anEvent({ action: 'Not An Action' }),
      anEvent({ reason: 'X'.repeat(65) }),
      anEvent({ targets: Array.from({ length: 17 }, (_, index) => `run:${index}`) }),
    ]
    const good = Array.from({ length: 40 }, () => anEvent())
    const refused = await deliver([...good.slice(0, 7), ...bad, ...good.slice(7)], appending(mesh.peerToken('actions')))
    expect(refused.map(({ event }) => event)).toEqual(bad)
    expect(taken.flatMap(({ events }) => events.map(({ eventId }) => eventId))).toEqual(good.map(({ eventId }) => eventId))
  })
})
