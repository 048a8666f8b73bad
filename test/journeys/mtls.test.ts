/** Real processes that speak mTLS to each other: what a request needs of all of them, and that nobody else is let in. */
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { IdempotencyServiceService } from '#gen/relay/idempotency/v1/idempotency.ts'
import { newApiKey } from '#mesh/api-key.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import { Channel, type ChannelParts, methodsOf } from '#mesh/grpc/client.ts'
import { fakeMesh, startFakeAccess } from '../fakes/identity.ts'
import { meshCertificates } from '../fakes/mesh-certificates.ts'
import { type Receiver, startReceiver } from '../fakes/receiver.ts'
import { type RunningProcess, startProcess } from '../fixtures/mesh/process.ts'
import { requests } from '../fixtures/mesh/server.ts'
import { until } from '../fixtures/mesh/until.ts'
import { freshDatabase } from '../setup/database.ts'

const mesh = fakeMesh()
const certificates = meshCertificates()
const apiKey = newApiKey('test')
const root = new URL('../../', import.meta.url)

const ends: (() => unknown)[] = []
let receiver: Receiver
let idempotency: RunningProcess
let grpc: { idempotency: string; actions: string }
let http: string

function start(name: string, folder: string, env: Record<string, string>): RunningProcess {
  const own = { ...mesh.env(name), ...certificates.env(name), RELAY_ENV: 'test', LOG_LEVEL: 'debug' }
  const running = startProcess(fileURLToPath(new URL(`${folder}/main.ts`, root)), { ...own, ...env })
  ends.push(async () => {
    running.child.kill('SIGTERM')
    expect(await running.ended, `how ${name} ended`).toBe(0)
  })
  return running
}

beforeAll(async () => {
  receiver = await startReceiver()
  const keys = new Map([[apiKey, { workspace: 'acme' }]])
  const access = await startFakeAccess(mesh, { keys, tls: certificates.open('access') })
  const databases = await Promise.all([freshDatabase(), freshDatabase()])
  ends.push(() => Promise.all([receiver.close(), access.stop(), ...databases.map((each) => each.drop())]))
  const common = { ACCESS_ADDR: access.address }

  idempotency = start('idempotency', 'services/idempotency', { ...common, DATABASE_URL: databases[0].url })
  const idempotencyAddress = (await idempotency.listening()).grpc
  const actions = start('actions', 'services/actions', {
    ...common,
    DATABASE_URL: databases[1].url,
    IDEMPOTENCY_ADDR: idempotencyAddress,
    ACTIONS_SIGNING_SECRET: 'a secret of these tests alone',
    WEBHOOK_ALLOW_PRIVATE: '127.0.0.0/8,::1/128',
  })
  grpc = { idempotency: idempotencyAddress, actions: (await actions.listening()).grpc }
  const gateway = start('gateway', 'gateway', {
    UPSTREAMS: `actions=${grpc.actions},access=${access.address}`,
    HTTP_LISTEN: '127.0.0.1:0',
  })
  http = ((await gateway.listening()) as unknown as { http: string }).http
})
afterAll(async () => {
  for (const end of ends.reverse()) await end()
})

const post = async (path: string, body: unknown, headers: Record<string, string> = {}) => {
  const response = await fetch(`http://${http}${path}`, {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json', ...headers },
  })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

describe('a mesh with certificates', () => {
  test('works from hop to hop, with each service identified by its certificate', async () => {
    const params = { url: `${receiver.url}/hook`, method: 'POST', body: { test: 'hello' } }
    const preview = await post('/actions/preview', { action: 'webhook.save', params })
    expect(preview).toMatchObject({ status: 200 })
    const executed = await post('/actions/execute', { preview_id: preview.body['preview_id'] }, { 'idempotency-key': 'over-mtls' })
    expect(executed).toMatchObject({ status: 200, body: { status: 'success' } })
    expect(receiver.deliveries).toHaveLength(1)
    const claim = () => idempotency.lines.find(({ method }) => String(method).endsWith('/Claim'))
    await until('the claim is in the log', () => claim() !== undefined)
    expect(claim()).toMatchObject({ peer: 'actions', code: 'OK' })
    expect((await fetch(`http://${http}/ready`)).status).toBe(200)
  })

  test('rejects everyone without one, whatever token they send', async () => {
    const strangers = meshCertificates()
    const complete = async (parts: Partial<ChannelParts>) => {
      const channel = new Channel({ address: grpc.idempotency, service: 'idempotency', ...parts })
      try {
        return await methodsOf(IdempotencyServiceService, channel).complete(requests.complete, ownContext(), { timeoutMs: 2000 })
      } finally {
        channel.close()
      }
    }
    const peerToken = mesh.peerToken('actions')
    await expect(complete({ peerToken })).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    const tls = certificates.careless(strangers.issue('actions'))
    await expect(complete({ peerToken, tls })).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    const known = { tls: certificates.open('actions') }
    await expect(complete(known)).resolves.toEqual({})
  })
})
