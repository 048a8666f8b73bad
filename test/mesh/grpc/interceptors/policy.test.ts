import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toBinary } from '@bufbuild/protobuf'
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { IdempotencyServiceService } from '#gen/relay/idempotency/v1/idempotency.ts'
import { newApiKey } from '#mesh/api-key.ts'
import { type Call, ownContext } from '#mesh/grpc/call.ts'
import type { PeerToken, Verifier } from '#mesh/grpc/caller.ts'
import { type Method, descriptorSet, methodOf } from '#mesh/grpc/descriptors.ts'
import { Health } from '#mesh/grpc/health.ts'
import { policy } from '#mesh/grpc/interceptors/policy.ts'
import { GrpcServer } from '#mesh/grpc/server.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { fakeMesh } from '../../../fakes/identity.ts'
import { type RunningProcess, startProcess } from '../../../fixtures/mesh/process.ts'
import {
  type TestServer,
  asCaller,
  callerToken,
  connect,
  mesh,
  peerToken,
  requests,
  startServer,
  verifier,
} from '../../../fixtures/mesh/server.ts'

const reader = mesh.callerToken({ permissions: ['actions:read'] })
/** Another mesh with the same names, and none of the keys. */
const elsewhere = fakeMesh()

const notProven = 'x-relay-peer does not prove a service of this mesh.'

/** Believes every name but one. */
const naming: Verifier = { ...verifier, peer: (token) => (token === 'nobody' ? undefined : token) }
const callOf = (method: Method, { peer, callerToken: shown }: { peer?: string | undefined; callerToken?: string }) =>
  ({ method, peerToken: peer, peer: undefined, callerToken: shown, caller: undefined }) as unknown as Call
/** What the policy alone says. */
const decided = async (method: Method, shown: { peer?: string | undefined; callerToken?: string }): Promise<string> =>
  String(await policy(naming)(callOf(method, shown), async () => Buffer.from('through')))

let server: TestServer
let handled = 0
const channels: { close(): void }[] = []
const connected = (shown: PeerToken | null) => {
  const client = connect(server.address, shown)
  channels.push(client.channel)
  return client
}
beforeAll(async () => {
  server = await startServer({
    actions: {
      listActions: async () => ({ actions: [], requestId: `${(handled += 1)}` }),
      executeAction: async () => expect.unreachable('it may not be executed'),
    },
    idempotency: {
      complete: async () => {
        handled += 1
        return {}
      },
    },
  })
})
afterAll(async () => {
  for (const channel of channels) channel.close()
  await server.stop()
})
beforeEach(() => (handled = 0))

describe('a method with a permission', () => {
  test('admits a caller with it, whether or not a peer carries the call', async () => {
    for (const shown of [peerToken, null]) await connected(shown).actions.listActions({}, asCaller())
    await connected(null).actions.listActions({}, asCaller({ callerToken: reader }))
    expect(handled).toBe(3)
  })

  test.each([
    ['no token', undefined],
    ['a wrong token', 'wrong'],
    ['a token that almost is one', `${callerToken.slice(0, -2)}xx`],
    ['the token of another mesh', elsewhere.callerToken()],
    ['the token of a peer', peerToken('actions')],
  ])('refuses a caller with %s as unauthenticated', async (_, shown) => {
    const call = connected(null).actions.listActions({}, { ...ownContext(), callerToken: shown })
    await expect(call).rejects.toMatchObject({ code: 'UNAUTHENTICATED', reason: 'UNAUTHENTICATED' })
    expect(handled).toBe(0)
  })

  test.each([
    ['no token', undefined, 'No valid credentials: send authorization: Bearer <caller token>'],
    ['an API key', newApiKey('test'), 'This is an API key, which only access takes'],
    ['a token that is not valid', 'wrong', 'This caller token is not valid, or it has expired'],
  ])('says to a caller with %s which credential it wants, and where that is had', async (_, shown, message) => {
    const call = connected(null).actions.listActions({}, { ...ownContext(), callerToken: shown })
    await expect(call).rejects.toMatchObject({ message: expect.stringContaining(message) as string })
    await expect(call).rejects.toMatchObject({ message: expect.stringContaining('access.AccessService/Exchange') as string })
  })

  test('rejects a caller without it, and names it', async () => {
    const call = connected(null).actions.executeAction(requests.execute, asCaller({ callerToken: reader }))
    await expect(call).rejects.toMatchObject({ code: 'PERMISSION_DENIED', message: expect.stringContaining('actions:execute') })
  })

  test('rejects a peer without a caller: being a service is not a permission', async () => {
    await expect(connected(peerToken).actions.listActions({}, ownContext())).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
    expect(handled).toBe(0)
  })

  test('reveals nothing of the contract’s rules to a caller without access', async () => {
    const call = connected(null).actions.listRuns({ ...requests.listRuns, status: 'nonsense' }, ownContext())
    await expect(call).rejects.toMatchObject({ code: 'UNAUTHENTICATED', violations: [] })
  })
})

describe('a method for peers', () => {
  test('admits a peer, with a caller or without', async () => {
    await connected(peerToken).idempotency.complete(requests.complete, ownContext())
    await connected(peerToken).idempotency.complete(requests.complete, asCaller())
    expect(handled).toBe(2)
  })

  test.each([
    ['a caller alone', null, callerToken, 'Only services of the mesh may call this.'],
    ['nothing', null, undefined, 'Only services of the mesh may call this.'],
    ['a peer of another mesh', elsewhere.peerToken('tester'), undefined, notProven],
    ['a peer of another mesh and a caller', elsewhere.peerToken('tester'), callerToken, notProven],
    ['a caller as peer', () => callerToken, undefined, notProven],
    ['a proof that was meant for another service', () => peerToken('access'), undefined, notProven],
  ])('refuses %s', async (_, shown, token, message) => {
    const call = connected(shown).idempotency.complete(requests.complete, { ...ownContext(), callerToken: token })
    await expect(call).rejects.toMatchObject({ code: 'UNAUTHENTICATED', message })
    expect(handled).toBe(0)
  })

  test.each([
    ['a listed peer', 'actions', undefined],
    ['an unlisted peer', 'gateway', 'PERMISSION_DENIED'],
    ['a peer whose name only begins like a listed one', 'actions2', 'PERMISSION_DENIED'],
    ['nobody', undefined, 'UNAUTHENTICATED'],
  ])('that lists its peers answers %s', async (_, peer, code) => {
    // Only Envoy's contract lists single peers yet.
    const method = { ...methodOf('/relay.idempotency.v1.IdempotencyService/Complete'), peers: ['actions'] }
    const response = decided(method, { peer, callerToken })
    if (code === undefined) expect(await response).toBe('through')
    else await expect(response).rejects.toMatchObject({ code })
  })
})

describe('an open method', () => {
  const exchange = methodOf('/relay.access.v1.AccessService/Exchange')

  test('admits anyone, and recognises a peer that proves itself', async () => {
    expect(exchange).toMatchObject({ open: true, permission: undefined, peers: [] })
    expect(await decided(exchange, {})).toBe('through')
    expect(await decided(exchange, { callerToken: 'whatever' })).toBe('through')
    const call = callOf(exchange, { peer: 'gateway' })
    await policy(naming)(call, async () => Buffer.from(''))
    expect(call.peer).toBe('gateway')
  })

  test('rejects an invalid proof', async () => {
    await expect(decided(exchange, { peer: 'nobody' })).rejects.toMatchObject({ code: 'UNAUTHENTICATED', message: notProven })
  })
})

test('known credentials are admitted synchronously', () => {
  const known = { workspace: 'acme', actor: 'ann', keyId: 'k', may: () => true }
  const through: string[] = []
  for (const path of ['/relay.actions.v1.ActionsService/ListActions', '/relay.idempotency.v1.IdempotencyService/Complete']) {
    const call = callOf(methodOf(path), { peer: 'gateway', callerToken: 't' })
    void policy({ caller: () => known, peer: () => 'gateway' })(call, async () => {
      through.push(path)
      return Buffer.from('')
    })
  }
  expect(through).toHaveLength(2)
})

describe('a service does not start', () => {
  let tree: string
  beforeAll(() => {
    tree = mkdtempSync(join(tmpdir(), 'relay-policy-'))
    const root = join(import.meta.dirname, '../../../..')
    for (const part of ['package.json', 'mesh', 'proto/gen', 'test/fixtures'])
      cpSync(join(root, part), join(tree, part), { recursive: true })
    symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'))
  })
  afterAll(() => rmSync(tree, { recursive: true, force: true }))

  const start = () => startProcess(join(tree, 'test/fixtures/mesh/main.ts'), { ...mesh.env('idempotency'), ACCESS_ADDR: '127.0.0.1:9' })

  /** One that starts after all is ended here. */
  const exitOf = async (process: RunningProcess) => {
    await Promise.race([process.ended, process.listening().then(() => process.child.kill('SIGKILL'))]).catch(() => undefined)
    return process.ended
  }

  test('when one of its methods declares neither a permission nor peers, nor that it is open', async () => {
    const bare = structuredClone(descriptorSet)
    const service = bare.file.flatMap((file) => file.service).find(({ name }) => name === 'IdempotencyService')!
    const { options } = service.method.find(({ name }) => name === 'Release')!
    const before = options!.$unknown!.length
    options!.$unknown = options!.$unknown!.filter(({ no }) => no !== 50_101 && no !== 50_102)
    expect(options!.$unknown.length).toBeLessThan(before)
    writeFileSync(join(tree, 'proto/gen/image.binpb'), toBinary(FileDescriptorSetSchema, bare))

    const process = start()
    expect(await exitOf(process)).toBe(1)
    expect(process.lines.find(({ level }) => level === 'fatal')).toMatchObject({ msg: 'could not start' })
    expect(process.text.stdout).toContain('/relay.idempotency.v1.IdempotencyService/Release declares neither a permission nor peers, nor')
  })

  test('when no contract declares it', async () => {
    const less = structuredClone(descriptorSet)
    less.file = less.file.filter(({ name }) => name !== 'relay/idempotency/v1/idempotency.proto')
    writeFileSync(join(tree, 'proto/gen/image.binpb'), toBinary(FileDescriptorSetSchema, less))
    const process = start()
    expect(await exitOf(process)).toBe(1)
    expect(process.text.stdout).toContain('no contract declares /relay.idempotency.v1.IdempotencyService/Claim')
  })

  test('when one of its methods has no handler', () => {
    const log = createLogger('tested', 'silent')
    const parts = { verifier, health: new Health({ services: [] }), log, metrics: new Metrics('tested') }
    const claimOnly = { definition: IdempotencyServiceService, handlers: { claim: async () => ({}) } }
    expect(() => new GrpcServer({ ...parts, services: [claimOnly] })).toThrow(
      '/relay.idempotency.v1.IdempotencyService/Renew has no handler',
    )
  })
})
