/** Each service works with real clients, which sign in by Exchange: grpcurl, buf curl, and a JavaScript caller with no generated code. */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import grpc from '@grpc/grpc-js'
import protoLoader from '@grpc/proto-loader'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { needs, needsPython, python } from '../setup/needs.ts'
import { type Journey, journey } from './journey.ts'
import { peerTokenIn } from './ports.ts'

const run = promisify(execFile)
const services = [
  ['access', 'relay.access.v1.KeysService'],
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
  access: ['ListKeys', {}, /api.?key|key.?id/i],
  actions: ['ListActions', {}, /webhook\.save/],
  idempotency: ['Claim', claim, /absent/],
  ratelimit: ['Check', check, /granted/],
} as const

/** Those whose callers are services show this service's name. */
const shownBy = { idempotency: 'actions', ratelimit: 'gateway' } as const

let harness: Journey
const definition = protoLoader.loadFileDescriptorSetFromBuffer(readFileSync('proto/gen/image.binpb'), { keepCase: true, defaults: true })
const contracts = grpc.loadPackageDefinition(definition)
beforeAll(async () => {
  harness = await journey()
})
afterAll(() => harness?.end())

const addressOf = (name: string) => harness.mesh.services[name]!.grpc
const flagsOf = (metadata: Record<string, string>) => Object.entries(metadata).flatMap(([name, value]) => ['-H', `${name}: ${value}`])
const bufCurl = async (url: string, ...flags: string[]) =>
  (await run('node_modules/.bin/buf', ['curl', '--protocol', 'grpc', '--http2-prior-knowledge', ...flags, url])).stdout
const grpcurl = async (...args: string[]) => (await run('grpcurl', ['-plaintext', ...args])).stdout
const grpcurlNeeds = needs('grpcurl')

/** A call as a JavaScript caller makes it that has nothing of ours but the descriptor image. */
async function called(
  name: string,
  service: string,
  method: string,
  request: object,
  metadata: Record<string, string> = {},
): Promise<unknown> {
  const found: unknown = service.split('.').reduce((at, part) => at[part] as grpc.GrpcObject, contracts)
  const Client = found as grpc.ServiceClientConstructor
  const client = new Client(addressOf(name), grpc.credentials.createInsecure())
  const sent = new grpc.Metadata()
  for (const [key, value] of Object.entries(metadata)) sent.set(key, value)
  const call = promisify(client[method]!.bind(client)) as unknown as (...args: unknown[]) => Promise<unknown>
  try {
    return await call(request, sent, { deadline: Date.now() + 5000 })
  } finally {
    client.close()
  }
}

/** The one open method, by each client: an API key in, a token out that every service takes. */
const open = 'relay.access.v1.AccessService'
const shownKey = () => ({ api_key: harness.mesh.apiKey })
const response = (json: string) => JSON.parse(json) as { token: string }
const signIns = {
  'buf curl': async () => response(await bufCurl(`http://${addressOf('access')}/${open}/Exchange`, '-d', JSON.stringify(shownKey()))),
  grpcurl: async () => response(await grpcurl('-d', JSON.stringify(shownKey()), addressOf('access'), `${open}/Exchange`)),
  '@grpc/proto-loader': async () => (await called('access', open, 'Exchange', shownKey())) as { token: string },
}

const eachClient = (Object.keys(signIns) as (keyof typeof signIns)[]).map((client) => ({
  client,
  options: client === 'grpcurl' ? grpcurlNeeds : {},
}))
describe.each(eachClient)('$client', ({ client, options }) => {
  test('signs in by Exchange, and a service takes the token', options, async () => {
    const { token } = await signIns[client]()
    const listed = await called('actions', 'relay.actions.v1.ActionsService', 'ListActions', {}, { authorization: `Bearer ${token}` })
    expect(JSON.stringify(listed)).toContain('webhook.save')
  })
})

describe.each(services)('%s', (name, service) => {
  let metadata: Record<string, string>
  beforeAll(async () => {
    metadata = { authorization: `Bearer ${(await signIns['@grpc/proto-loader']()).token}` }
    if (name in shownBy) metadata['x-relay-peer'] = await peerTokenIn(harness.mesh, shownBy[name as keyof typeof shownBy])(name)
  })
  const headerFlags = () => flagsOf(metadata)
  const buf = (path: string, ...flags: string[]) => bufCurl(`http://${addressOf(name)}${path}`, ...headerFlags(), ...flags)

  test('buf curl lists its methods by reflection and calls it', async () => {
    expect(await buf('', '--list-methods')).toContain(`${service}/${calls[name][0]}`)
    expect(await buf(`/${service}/${calls[name][0]}`, '-d', JSON.stringify(calls[name][1]))).toMatch(calls[name][2])
  })

  test('buf curl asks its health', async () => {
    expect(await buf('/grpc.health.v1.Health/Check', '-d', JSON.stringify({ service }))).toContain('SERVING')
  })

  test('grpcurl lists, describes and calls it', grpcurlNeeds, async () => {
    expect(await grpcurl(addressOf(name), 'list')).toContain(service)
    expect(await grpcurl(addressOf(name), 'describe')).toContain(calls[name][0])
    expect(await grpcurl(addressOf(name), 'describe', service)).toContain(calls[name][0])
    const flags = [...headerFlags(), '-d', JSON.stringify(calls[name][1])]
    expect(await grpcurl(...flags, addressOf(name), `${service}/${calls[name][0]}`)).toMatch(calls[name][2])
    expect(await grpcurl('-d', JSON.stringify({ service }), addressOf(name), 'grpc.health.v1.Health/Check')).toContain('SERVING')
  })

  test('a JavaScript caller with @grpc/proto-loader and no generated code calls it', async () => {
    expect(JSON.stringify(await called(name, service, calls[name][0], calls[name][1], metadata))).toMatch(calls[name][2])
  })

  test('without credentials nothing but health and reflection answers', async () => {
    const bare = bufCurl(`http://${addressOf(name)}/${service}/${calls[name][0]}`, '-d', JSON.stringify(calls[name][1]))
    await expect(bare).rejects.toThrow(/unauthenticated/)
  })
})

test('a caller’s token gives no access to methods for services, and an API key to nothing but Exchange', async () => {
  const { token } = await signIns['buf curl']()
  const asked = (name: keyof typeof calls, service: string, bearer: string) => {
    const [method, request] = calls[name]
    const flags = [...flagsOf({ authorization: `Bearer ${bearer}` }), '-d', JSON.stringify(request)]
    return bufCurl(`http://${addressOf(name)}/${service}/${method}`, ...flags)
  }
  for (const [name, service] of services) {
    await expect(asked(name, service, harness.mesh.apiKey)).rejects.toThrow(/unauthenticated/)
    if (name in shownBy) await expect(asked(name, service, token)).rejects.toThrow(/unauthenticated/)
  }
})

/** docs/internal-callers.md, as it stands there. */
const callersPage = readFileSync('docs/internal-callers.md', 'utf8')
const protocNeeds = needsPython(['grpc_tools', 'google.api.annotations_pb2'], 'pip install grpcio-tools googleapis-common-protos')

test('the include paths on the page for callers load every contract', () => {
  const [, list = ''] = /includeDirs: \[([^\]]+)\]/.exec(callersPage) ?? []
  const includeDirs = [...list.matchAll(/'([^']+)'/g)].map(([, path]) => path!)
  const contractFiles = readdirSync('proto/relay', { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.proto'))
  expect(contractFiles.length).toBeGreaterThan(5)
  for (const path of contractFiles) {
    expect(Object.keys(protoLoader.loadSync(`relay/${path}`, { keepCase: true, includeDirs })), path).not.toEqual([])
  }
})

test(
  'a Python caller made by the protoc command on the page signs in and lists the actions',
  { ...protocNeeds, timeout: 60_000 },
  async () => {
    const [, command = ''] = /```sh\n(mkdir -p stubs\n[^]*?)```/.exec(callersPage) ?? []
    const [, program = ''] = /```python\n([^]*?)```/.exec(callersPage) ?? []
    const folder = mkdtempSync(join(tmpdir(), 'relay-stubs-'))
    try {
      await run('sh', ['-ec', command.replace('python3', python).replaceAll('stubs', join(folder, 'stubs'))])
      const { access, actions } = harness.mesh.services
      mkdirSync(join(folder, '.relay'))
      writeFileSync(join(folder, '.relay/local.json'), JSON.stringify({ services: { access, actions }, api_key: harness.mesh.apiKey }))
      const { stdout } = await run(python, ['-c', program], { cwd: folder, env: { ...process.env, PYTHONPATH: join(folder, 'stubs') } })
      expect(stdout).toContain('webhook.save')
    } finally {
      rmSync(folder, { recursive: true })
    }
  },
)
