import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toBinary } from '@bufbuild/protobuf'
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { IdempotencyServiceService } from '#gen/relay/idempotency/v1/idempotency.ts'
import { type Call, ownContext } from '#mesh/grpc/call.ts'
import { type Verifier, staticPeerToken } from '#mesh/grpc/caller.ts'
import { descriptorSet, methodOf } from '#mesh/grpc/descriptors.ts'
import { Health } from '#mesh/grpc/health.ts'
import { policy } from '#mesh/grpc/interceptors/policy.ts'
import { GrpcServer } from '#mesh/grpc/server.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { type RunningProcess, startProcess } from '../fixtures/mesh/process.ts'
import {
  type TestServer,
  apiKey,
  asCaller,
  connect,
  peerSecret,
  peerToken,
  requests,
  startServer,
  verifier,
} from '../fixtures/mesh/server.ts'

const limited: Verifier = {
  ...verifier,
  caller: (token) =>
    token === 'reader'
      ? { workspace: 'acme', actor: 'ann', keyId: 'r', may: (permission) => permission === 'actions:read' }
      : verifier.caller(token),
}

let server: TestServer
let handled = 0
const channels: { close(): void }[] = []
const connected = (shown: (() => string) | null) => {
  const client = connect(server.address, shown)
  channels.push(client.channel)
  return client
}
beforeAll(async () => {
  server = await startServer({
    verifier: limited,
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
  test('lets a caller with it through, whether or not a peer carries the call', async () => {
    for (const shown of [peerToken, null]) await connected(shown).actions.listActions({}, asCaller())
    await connected(null).actions.listActions({}, asCaller({ callerToken: 'reader' }))
    expect(handled).toBe(3)
  })

  test.each([
    ['no token', undefined],
    ['a wrong token', 'wrong'],
    ['a token that almost is the key', `${apiKey}x`],
    ['the secret of the peers', peerSecret],
  ])('refuses a caller with %s as unauthenticated', async (_, callerToken) => {
    const call = connected(null).actions.listActions({}, { ...ownContext(), callerToken })
    await expect(call).rejects.toMatchObject({ code: 'UNAUTHENTICATED', reason: 'UNAUTHENTICATED' })
    expect(handled).toBe(0)
  })

  test('refuses a caller who lacks it, and names it', async () => {
    const call = connected(null).actions.executeAction(requests.execute, asCaller({ callerToken: 'reader' }))
    await expect(call).rejects.toMatchObject({ code: 'PERMISSION_DENIED', message: expect.stringContaining('actions:execute') })
  })

  test('refuses a peer without a caller: to be a service is no permission', async () => {
    await expect(connected(peerToken).actions.listActions({}, ownContext())).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
    expect(handled).toBe(0)
  })

  test('tells nothing of the contract’s rules to who may not call it', async () => {
    const call = connected(null).actions.listRuns({ ...requests.listRuns, status: 'nonsense' }, ownContext())
    await expect(call).rejects.toMatchObject({ code: 'UNAUTHENTICATED', violations: [] })
  })
})

describe('a method for peers', () => {
  test('lets a peer through, with a caller or without', async () => {
    await connected(peerToken).idempotency.complete(requests.complete, ownContext())
    await connected(peerToken).idempotency.complete(requests.complete, asCaller())
    expect(handled).toBe(2)
  })

  test.each([
    ['the API key alone', null, apiKey],
    ['nothing', null, undefined],
    ['a forged peer token', staticPeerToken('tester', 'not the secret'), undefined],
    ['a forged peer token and the API key', staticPeerToken('tester', 'not the secret'), apiKey],
    ['the API key as peer token', () => apiKey, undefined],
  ])('refuses %s', async (_, shown, callerToken) => {
    const call = connected(shown).idempotency.complete(requests.complete, { ...ownContext(), callerToken })
    await expect(call).rejects.toMatchObject({ code: 'UNAUTHENTICATED', message: 'Only services of the mesh may call this.' })
    expect(handled).toBe(0)
  })

  test.each([
    ['a listed peer', 'actions', undefined],
    ['an unlisted peer', 'gateway', 'PERMISSION_DENIED'],
    ['a peer whose name only begins like a listed one', 'actions2', 'PERMISSION_DENIED'],
    ['nobody', undefined, 'UNAUTHENTICATED'],
  ])('that lists its peers answers %s', async (_, peer, code) => {
    // No contract lists single peers yet.
    const method = { ...methodOf('/relay.idempotency.v1.IdempotencyService/Complete'), peers: ['actions'] }
    const answer = policy(verifier)({ method, peer, callerToken: apiKey } as unknown as Call, async () => Buffer.from('through'))
    if (code === undefined) expect(String(await answer)).toBe('through')
    else await expect(answer).rejects.toMatchObject({ code })
  })
})

describe('a service does not start', () => {
  let tree: string
  beforeAll(() => {
    tree = mkdtempSync(join(tmpdir(), 'relay-policy-'))
    const root = join(import.meta.dirname, '../..')
    for (const part of ['package.json', 'mesh', 'proto/gen', 'test/fixtures'])
      cpSync(join(root, part), join(tree, part), { recursive: true })
    symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'))
  })
  afterAll(() => rmSync(tree, { recursive: true, force: true }))

  const start = () =>
    startProcess(join(tree, 'test/fixtures/mesh/main.ts'), { RELAY_STATIC_KEY: 'a-key-that-is-long-enough', MESH_PEER_SECRET: peerSecret })

  /** One that starts after all is ended here. */
  const exitOf = async (process: RunningProcess) => {
    await Promise.race([process.ended, process.listening().then(() => process.child.kill('SIGKILL'))]).catch(() => undefined)
    return process.ended
  }

  test('when one of its methods declares neither a permission nor peers', async () => {
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
    expect(process.text.stdout).toContain('/relay.idempotency.v1.IdempotencyService/Release declares neither a permission nor peers')
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
