import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { fromBinary, toBinary } from '@bufbuild/protobuf'
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt'
import { ChannelCredentials } from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ServerReflectionRequest, ServerReflectionClient, type ServerReflectionResponse } from '#gen/grpc/reflection/v1/reflection.ts'
import { ServerReflectionClient as AlphaClient } from '#gen/grpc/reflection/v1alpha/reflection.ts'
import { ErrorInfo } from '#gen/google/rpc/error_details.ts'
import { descriptorSet } from '#mesh/grpc/descriptors.ts'
import { type TestServer, callerToken, serviceNames, startServer } from '../../fixtures/mesh/server.ts'
import { until } from '../../fixtures/mesh/until.ts'
import { needs } from '../../setup/needs.ts'

const run = promisify(execFile)
const buf = join(import.meta.dirname, '../../../node_modules/.bin/buf')

let server: TestServer
beforeAll(async () => {
  server = await startServer({
    actions: {
      listActions: async (_, call) => ({
        actions: [
          {
            action: 'webhook.save',
            provider: 'independent',
            description: '',
            guarantee: '',
            paramsSchema: { type: 'object' },
            available: true,
          },
        ],
        requestId: call.requestId,
      }),
    },
  })
})
afterAll(() => server.stop())

const listActions = 'relay.actions.v1.ActionsService/ListActions'
const answered = { actions: [{ action: 'webhook.save', provider: 'independent', paramsSchema: { type: 'object' }, available: true }] }

describe.each(['grpc-v1', 'grpc-v1alpha'])('buf curl, by reflection %s,', (version) => {
  const curl = async (path: string, ...options: string[]) => {
    const args = [
      'curl',
      '--protocol',
      'grpc',
      '--http2-prior-knowledge',
      '--reflect-protocol',
      version,
      ...options,
      `http://${server.address}${path}`,
    ]
    return (await run(buf, args)).stdout
  }

  test('lists the services and their methods', async () => {
    expect((await curl('', '--list-services')).trim().split('\n')).toEqual(
      [...serviceNames, 'grpc.health.v1.Health', 'grpc.reflection.v1.ServerReflection', 'grpc.reflection.v1alpha.ServerReflection'].sort(),
    )
    expect(await curl('', '--list-methods')).toContain(listActions)
  })

  test('calls a method with a header, from JSON to JSON', async () => {
    const printed = await curl(`/${listActions}`, '--header', `authorization: Bearer ${callerToken}`, '--data', '{}')
    expect(JSON.parse(printed)).toMatchObject(answered)
  })

  test('shows an error with its details', async () => {
    const stderr = await curl(`/${listActions}`, '--data', '{}').catch((failure: { stderr: string }) => failure.stderr)
    const { code, details } = JSON.parse(stderr) as { code: string; details: { type: string; value: string }[] }
    expect([code, details[0]!.type]).toEqual(['unauthenticated', 'google.rpc.ErrorInfo'])
    expect(ErrorInfo.decode(Buffer.from(details[0]!.value, 'base64'))).toMatchObject({ reason: 'UNAUTHENTICATED', domain: 'mesh.relay' })
  })
})

describe('grpcurl', needs('grpcurl'), () => {
  const curl = async (...args: string[]) => (await run('grpcurl', ['-plaintext', ...args])).stdout

  test('lists the services and their methods', async () => {
    expect((await curl(server.address, 'list')).split('\n')).toEqual(expect.arrayContaining(serviceNames))
    expect(await curl(server.address, 'list', 'relay.actions.v1.ActionsService')).toContain('relay.actions.v1.ActionsService.ExecuteAction')
  })

  test('describes a service with its options, and a message', async () => {
    const described = await curl(server.address, 'describe', 'relay.actions.v1.ActionsService')
    expect(described).toMatch(/option \(\.google\.api\.http\) = \{ get: "\/actions" \}/)
    expect(described).toContain('option (.relay.mesh.v1.permission) = "actions:execute"')
    expect(await curl(server.address, 'describe', 'relay.idempotency.v1.ClaimRequest')).toContain('(.buf.validate.field)')
  })

  test('calls a method with a header, and asks for the health of a service', async () => {
    expect(JSON.parse(await curl('-H', `authorization: Bearer ${callerToken}`, server.address, listActions))).toMatchObject(answered)
    const health = await curl('-d', '{"service":"relay.actions.v1.ActionsService"}', server.address, 'grpc.health.v1.Health/Check')
    expect(JSON.parse(health)).toEqual({ status: 'SERVING' })
  })
})

describe.each([
  ['v1', ServerReflectionClient],
  ['v1alpha', AlphaClient],
])('reflection %s', (_, Client) => {
  /** Asks everything over one stream; answers come in order. */
  async function ask(...questions: NonNullable<ServerReflectionRequest['messageRequest']>[]): Promise<ServerReflectionResponse[]> {
    const client = new Client(server.address, ChannelCredentials.createInsecure())
    const stream = client.serverReflectionInfo()
    const responses: ServerReflectionResponse[] = []
    for (const messageRequest of questions) stream.write({ host: 'here', messageRequest })
    stream.end()
    for await (const response of stream) responses.push(response as ServerReflectionResponse)
    client.close()
    return responses
  }
  const filesIn = (response: ServerReflectionResponse | undefined) =>
    response?.messageResponse?.$case === 'fileDescriptorResponse'
      ? response.messageResponse.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes))
      : []
  const namesIn = (response: ServerReflectionResponse | undefined) => filesIn(response).map(({ name }) => name)
  const actionsFile = 'relay/actions/v1/actions.proto'

  test('returns a file and all of its imports, each once, with every option as compiled', async () => {
    const [response] = await ask({ $case: 'fileByFilename', value: actionsFile })
    const names = namesIn(response)
    expect(names[0]).toBe(actionsFile)
    expect(new Set(names).size).toBe(names.length)
    expect(names).toEqual(expect.arrayContaining(['google/api/http.proto', 'relay/mesh/v1/policy.proto', 'buf/validate/validate.proto']))
    for (const file of filesIn(response)) {
      const compiled = descriptorSet.file.find(({ name }) => name === file.name)!
      expect(Buffer.from(toBinary(FileDescriptorProtoSchema, file)).equals(toBinary(FileDescriptorProtoSchema, compiled)), file.name).toBe(
        true,
      )
    }
  })

  test('finds the file of a service, a method, a message, a field, an enum, one of its values, an extension', async () => {
    const symbols = {
      'relay.actions.v1.ActionsService': actionsFile,
      'relay.actions.v1.ActionsService.ListActions': actionsFile,
      'relay.actions.v1.GetRunRequest': actionsFile,
      'relay.actions.v1.GetRunRequest.run_id': actionsFile,
      'relay.idempotency.v1.ClaimResponse.Granted': 'relay/idempotency/v1/idempotency.proto',
      'relay.idempotency.v1.ClaimResponse.outcome': 'relay/idempotency/v1/idempotency.proto',
      'relay.ratelimit.v1.Source': 'relay/ratelimit/v1/ratelimit.proto',
      'relay.mesh.v1.permission': 'relay/mesh/v1/policy.proto',
    }
    const responses = await ask(...Object.keys(symbols).map((value) => ({ $case: 'fileContainingSymbol' as const, value })))
    expect(responses.map((response) => namesIn(response)[0])).toEqual(Object.values(symbols))
  })

  test('knows extensions by the number and by what they extend', async () => {
    const options = 'google.protobuf.MethodOptions'
    const [file, numbers] = await ask(
      { $case: 'fileContainingExtension', value: { containingType: options, extensionNumber: 72_295_728 } },
      { $case: 'allExtensionNumbersOfType', value: options },
    )
    expect(namesIn(file)[0]).toBe('google/api/annotations.proto')
    expect(numbers?.messageResponse).toMatchObject({
      value: { extensionNumber: expect.arrayContaining([50_101, 50_102, 50_103, 72_295_728]) },
    })
  })

  test('reports that a symbol is unknown, and continues', async () => {
    const responses = await ask(
      { $case: 'fileByFilename', value: '../../etc/passwd' },
      { $case: 'fileContainingSymbol', value: 'relay.actions.v1.ActionsService.Steal' },
      { $case: 'fileContainingSymbol', value: '' },
      { $case: 'fileContainingExtension', value: { containingType: 'nothing', extensionNumber: 1 } },
      { $case: 'fileByFilename', value: actionsFile },
    )
    expect(responses.map(({ messageResponse }) => messageResponse?.$case)).toEqual([
      ...Array(4).fill('errorResponse'),
      'fileDescriptorResponse',
    ])
  })
})

test('an open reflection stream does not delay a drain', async () => {
  const other = await startServer()
  const client = new ServerReflectionClient(other.address, ChannelCredentials.createInsecure())
  const stream = client.serverReflectionInfo()
  let answered = false
  let ended = false
  stream.on('data', () => (answered = true))
  stream.on('error', () => (ended = true))
  stream.on('end', () => (ended = true))
  stream.write({ host: '', messageRequest: { $case: 'listServices', value: '' } })
  await until('it has answered', () => answered)
  expect(await other.grpc.drain(10_000)).toBe(true)
  await until('the stream is over', () => ended)
  client.close()
})
