import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Client, Metadata, type ServiceClientConstructor, type ServiceError, credentials, loadPackageDefinition } from '@grpc/grpc-js'
import protoLoader from '@grpc/proto-loader'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type TestServer, callerToken, peerToken, requests, startServer } from '../fixtures/mesh/server.ts'

const root = join(import.meta.dirname, '../..')
const contracts = ['relay/actions/v1/actions.proto', 'relay/idempotency/v1/idempotency.proto', 'relay/ratelimit/v1/ratelimit.proto']
const options: protoLoader.Options = { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true }

/** What of it is used here; the loader cannot know the types. */
interface Loaded {
  relay: {
    actions: { v1: { ActionsService: ServiceClientConstructor } }
    ratelimit: { v1: { RateLimitService: ServiceClientConstructor } }
  }
}

interface Way {
  load: () => protoLoader.PackageDefinition
  /** How the loader has a google.protobuf.Struct with one text in it. */
  struct: (name: string, text: string) => object
}

/** The two ways to load the contracts without generated code. */
const ways: Record<string, Way> = {
  'the .proto files': {
    load: () =>
      protoLoader.loadSync(contracts, {
        ...options,
        includeDirs: ['proto', 'proto/imports', 'node_modules/@grpc/grpc-js-xds/deps/googleapis'].map((folder) => join(root, folder)),
      }),
    struct: (name, text) => ({ fields: { [name]: { stringValue: text } } }),
  },
  'the descriptor image': {
    load: () => protoLoader.loadFileDescriptorSetFromBuffer(readFileSync(join(root, 'proto/gen/image.binpb')), options),
    // protobufjs does not see in descriptors that a map is one: the same bytes, as a list of pairs.
    struct: (name, text) => ({ fields: [{ key: name, value: { string_value: text } }] }),
  },
}

let server: TestServer
beforeAll(async () => {
  server = await startServer({
    actions: {
      previewAction: async (request, call) => ({
        previewId: 'p-1',
        action: request.action,
        provider: 'independent',
        summary: 'Send it',
        params: request.params,
        warnings: [],
        expiresAt: '2026-11-22T00:00:00.000Z',
        requestId: call.requestId,
      }),
    },
    ratelimit: {
      check: async ({ hits }) => ({
        granted: hits,
        decisions: [{ limited: true, granted: hits, limit: 60, remaining: 59, windowSeconds: 60, resetMs: 1, source: 'SOURCE_REDIS' }],
      }),
    },
  })
})
afterAll(() => server.stop())

describe.each(Object.entries(ways))('a JavaScript caller that loads the contracts from %s', (_, { load, struct }) => {
  const definition = loadPackageDefinition(load()) as unknown as Loaded
  const clients: Client[] = []
  const client = (Service: ServiceClientConstructor) => {
    const made = new Service(server.address, credentials.createInsecure())
    clients.push(made)
    return made as unknown as Record<string, (...args: unknown[]) => void>
  }
  afterAll(() => clients.forEach((each) => each.close()))
  const call = (service: ServiceClientConstructor, method: string, request: unknown, headers: Record<string, string>) =>
    new Promise<Record<string, unknown>>((resolve, reject) => {
      const metadata = new Metadata()
      for (const [name, value] of Object.entries(headers)) metadata.set(name, value)
      client(service)[method]!(
        request,
        metadata,
        { deadline: Date.now() + 5000 },
        (error: ServiceError | null, response: Record<string, unknown>) => (error === null ? resolve(response) : reject(error)),
      )
    })

  test('calls with an API key, and gets what the contract says by its names', async () => {
    const params = struct('url', 'https://example.com/')
    const response = await call(
      definition.relay.actions.v1.ActionsService,
      'PreviewAction',
      { action: 'webhook.save', params },
      { authorization: `Bearer ${callerToken}` },
    )
    expect(response).toMatchObject({ preview_id: 'p-1', action: 'webhook.save', warnings: [], expires_at: '2026-11-22T00:00:00.000Z' })
    expect(response['params']).toMatchObject(params)
  })

  test('calls as a peer, with lists and enums', async () => {
    const response = await call(definition.relay.ratelimit.v1.RateLimitService, 'Check', requests.check, {
      'x-relay-peer': peerToken('ratelimit'),
    })
    expect(response).toMatchObject({ granted: 1, decisions: [{ limited: true, limit: 60, source: 'SOURCE_REDIS' }] })
  })

  test('is refused like any other without credentials', async () => {
    const refused = call(definition.relay.actions.v1.ActionsService, 'ListActions', {}, {})
    await expect(refused).rejects.toMatchObject({ code: 16, details: expect.stringContaining('No valid credentials') })
  })
})
