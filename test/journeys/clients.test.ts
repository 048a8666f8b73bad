/** Each service works with real clients: grpcurl, buf curl, and a JavaScript caller with no generated code. */
import { execFile, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import grpc from '@grpc/grpc-js'
import protoLoader from '@grpc/proto-loader'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { keptSecret } from '../../deploy/local/home.ts'
import { staticPeerToken } from '#mesh/grpc/caller.ts'
import { type Journey, journey } from './journey.ts'

const run = promisify(execFile)
const services = [
  ['actions', 'relay.actions.v1.ActionsService'],
  ['idempotency', 'relay.idempotency.v1.IdempotencyService'],
  ['ratelimit', 'relay.ratelimit.v1.RateLimitService'],
] as const
const check = { domain: 'relay', descriptors: [{ entries: [{ key: 'workspace', value: 'clients' }] }], hits: 1 }
const claim = {
  key: { workspace: 'w', key_kind: 'client', key: 'clients' },
  attempt_id: '00000000-0000-4000-8000-000000000001',
  run_id: '00000000-0000-4000-8000-000000000002',
}
/** A call that each service answers, and what it answers with. */
const calls = {
  actions: ['ListActions', {}, /webhook\.save/],
  idempotency: ['Claim', claim, /absent/],
  ratelimit: ['Check', check, /granted/],
} as const

let on: Journey
const metadata: Record<string, string> = {}
beforeAll(async () => {
  on = await journey()
  metadata['authorization'] = `Bearer ${on.mesh.apiKey}`
  metadata['x-relay-peer'] = staticPeerToken('tester', keptSecret(on.mesh.folder, 'mesh_peer_secret'))()
})
afterAll(() => on?.end())

const addressOf = (name: string) => on.mesh.services[name]!.grpc
const headerFlags = () => Object.entries(metadata).flatMap(([name, value]) => ['-H', `${name}: ${value}`])

describe.each(services)('%s', (name, service) => {
  const buf = async (path: string, ...flags: string[]) =>
    (await run('node_modules/.bin/buf', ['curl', '--protocol', 'grpc', '--http2-prior-knowledge', ...headerFlags(), ...flags, `http://${addressOf(name)}${path}`])).stdout

  test('buf curl lists its methods by reflection and calls it', async () => {
    expect(await buf('', '--list-methods')).toContain(`${service}/${calls[name][0]}`)
    expect(await buf(`/${service}/${calls[name][0]}`, '-d', JSON.stringify(calls[name][1]))).toMatch(calls[name][2])
  })

  test('buf curl asks its health', async () => {
    expect(await buf('/grpc.health.v1.Health/Check', '-d', JSON.stringify({ service }))).toContain('SERVING')
  })

  // grpcurl is no npm package: `go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest` puts it on PATH.
  test.skipIf(spawnSync('grpcurl', ['-version']).error !== undefined)('grpcurl lists, describes and calls it', async () => {
    const grpcurl = async (...args: string[]) => (await run('grpcurl', ['-plaintext', ...args])).stdout
    expect(await grpcurl(addressOf(name), 'list')).toContain(service)
    expect(await grpcurl(addressOf(name), 'describe')).toContain(calls[name][0])
    expect(await grpcurl(addressOf(name), 'describe', service)).toContain(calls[name][0])
    const flags = [...headerFlags(), '-d', JSON.stringify(calls[name][1])]
    expect(await grpcurl(...flags, addressOf(name), `${service}/${calls[name][0]}`)).toMatch(calls[name][2])
    expect(await grpcurl('-d', JSON.stringify({ service }), addressOf(name), 'grpc.health.v1.Health/Check')).toContain('SERVING')
  })

  test('a JavaScript caller with @grpc/proto-loader and no generated code calls it', async () => {
    const definition = protoLoader.loadFileDescriptorSetFromBuffer(readFileSync('proto/gen/image.binpb'), { keepCase: true, defaults: true })
    const Client = service.split('.').reduce((at, part) => at[part] as grpc.GrpcObject, grpc.loadPackageDefinition(definition)) as unknown as grpc.ServiceClientConstructor
    const client = new Client(addressOf(name), grpc.credentials.createInsecure())
    const sent = new grpc.Metadata()
    for (const [key, value] of Object.entries(metadata)) sent.set(key, value)
    const call = promisify(client[calls[name][0]]!.bind(client)) as unknown as (...args: unknown[]) => Promise<unknown>
    try {
      expect(JSON.stringify(await call(calls[name][1], sent, { deadline: Date.now() + 5000 }))).toMatch(calls[name][2])
    } finally {
      client.close()
    }
  })

  test('without credentials nothing but health and reflection answers', async () => {
    const bare = run('node_modules/.bin/buf', [
      'curl',
      '--protocol',
      'grpc',
      '--http2-prior-knowledge',
      '-d',
      JSON.stringify(calls[name][1]),
      `http://${addressOf(name)}/${service}/${calls[name][0]}`,
    ])
    await expect(bare).rejects.toThrow(/unauthenticated/)
  })
})

test('an API key is no ticket to what only services may call', async () => {
  const args = ['curl', '--protocol', 'grpc', '--http2-prior-knowledge', '-H', `authorization: ${metadata['authorization']}`]
  for (const [name, service] of services.slice(1)) {
    const asked = run('node_modules/.bin/buf', [...args, '-d', JSON.stringify(calls[name][1]), `http://${addressOf(name)}/${service}/${calls[name][0]}`])
    await expect(asked).rejects.toThrow(/unauthenticated/)
  }
})
