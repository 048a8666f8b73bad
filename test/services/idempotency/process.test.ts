import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { IdempotencyServiceService } from '#gen/relay/idempotency/v1/idempotency.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import { Channel, methodsOf } from '#mesh/grpc/client.ts'
import { type FakeAccess, startFakeAccess } from '../../fakes/identity.ts'
import { type TcpProxy, tcpProxy, through } from '../../fakes/tcp-proxy.ts'
import { startProcess } from '../../fixtures/mesh/process.ts'
import { until } from '../../fixtures/mesh/until.ts'
import { type FreshDatabase, freshDatabase } from '../../setup/database.ts'
import { claimRequest, mesh, outcomeOf } from './replica.ts'

const main = fileURLToPath(new URL('../../../services/idempotency/main.ts', import.meta.url))

describe('the idempotency process', () => {
  let fresh: FreshDatabase
  let proxy: TcpProxy
  let access: FakeAccess
  beforeAll(async () => {
    fresh = await freshDatabase()
    const target = new URL(fresh.url)
    proxy = await tcpProxy({ host: target.hostname, port: Number(target.port) })
    access = await startFakeAccess(mesh)
  })
  afterAll(async () => {
    await access.stop()
    await proxy.close()
    await fresh.drop()
  })

  const start = () =>
    startProcess(main, { DATABASE_URL: through(proxy, fresh.url), ...mesh.env('idempotency'), ACCESS_ADDR: access.address })
  const connect = (address: string) => {
    const channel = new Channel({ address, peerToken: mesh.peerToken('actions') })
    return { ...methodsOf(IdempotencyServiceService, channel), close: () => channel.close() }
  }

  test('makes its tables in an empty database, serves, stops cleanly, and knows after a restart what it knew', async () => {
    const request = claimRequest()
    const first = start()
    const listening = await first.listening()
    const client = connect(listening.grpc)
    const { token, runId } = outcomeOf(await client.claim(request, ownContext()), 'granted')
    await client.complete({ key: request.key, runId, token, response: Buffer.from('kept') }, ownContext())
    const metrics = await (await fetch(`http://${listening.admin}/metrics`)).text()
    expect(metrics).toMatch(/idempotency_claims_total\{outcome="granted",service="idempotency"\} 1/)
    expect(metrics).toMatch(/idempotency_expired_claims\{service="idempotency"\} 0/)
    client.close()
    first.child.kill('SIGTERM')
    expect(await first.ended).toBe(0)

    const second = start()
    const again = connect((await second.listening()).grpc)
    const replayed = outcomeOf(await again.claim(claimRequest(request.key), ownContext()), 'completed')
    expect(replayed).toEqual({ runId, response: Buffer.from('kept') })
    again.close()
    second.child.kill('SIGTERM')
    expect(await second.ended).toBe(0)
    expect(first.text.stdout + second.text.stdout).not.toContain(new URL(fresh.url).password)
  })

  test('is ready while Postgres answers, not while it does not, and again when it does', async () => {
    const process = start()
    const { admin } = await process.listening()
    const ready = async () => {
      const response = await fetch(`http://${admin}/readyz`)
      return { status: response.status, body: await response.json() }
    }
    expect(await ready()).toEqual({ status: 200, body: { ready: true, checks: { postgres: true } } })
    proxy.silence()
    await until('it is not ready', async () => (await ready()).status === 503, 10_000)
    expect((await fetch(`http://${admin}/healthz`)).status).toBe(200)
    proxy.restore()
    await until('it is ready', async () => (await ready()).status === 200, 10_000)
    process.child.kill('SIGTERM')
    expect(await process.ended).toBe(0)
  })

  test('does not start without its database, its key or access, and says which', async () => {
    const process = startProcess(main, { MESH_PEERS_FILE: mesh.env('idempotency').MESH_PEERS_FILE })
    expect(await process.ended).toBe(78)
    for (const name of ['DATABASE_URL', 'MESH_IDENTITY_KEY', 'ACCESS_ADDR']) expect(process.text.stderr).toContain(`${name} is not set`)
  })
})
