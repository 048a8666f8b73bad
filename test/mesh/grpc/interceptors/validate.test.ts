import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { PreviewActionRequest } from '#gen/relay/actions/v1/actions.ts'
import { type ClaimRequest, ClaimResponse } from '#gen/relay/idempotency/v1/idempotency.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import { methodOf } from '#mesh/grpc/descriptors.ts'
import { violationsOf } from '#mesh/grpc/interceptors/validate.ts'
import { frame, rawCall } from '../../../fixtures/mesh/raw-call.ts'
import {
  type TestClient,
  type TestServer,
  asCaller,
  callerToken,
  connect,
  failureOf,
  requests,
  startServer,
} from '../../../fixtures/mesh/server.ts'

let server: TestServer
let client: TestClient
let handled = 0
beforeAll(async () => {
  server = await startServer({
    idempotency: { claim: async () => ClaimResponse.fromPartial({ outcome: { $case: 'absent', value: {} } }) },
    actions: {
      previewAction: async () => {
        handled += 1
        return expect.unreachable('no request here should get this far')
      },
    },
  })
  client = connect(server.address)
})
afterAll(async () => {
  client.channel.close()
  await server.stop()
})

const claim = (): ClaimRequest => ({
  key: { workspace: 'acme', keyKind: 'client', key: 'k' },
  attemptId: randomUUID(),
  runId: randomUUID(),
  leaseMs: 0,
})
const violations = async (response: Promise<unknown>) => {
  const error = await failureOf(response)
  expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'INVALID_REQUEST' })
  return error.violations
}

describe('a request', () => {
  test('that follows the contract’s rules reaches its handler', async () => {
    expect(await client.idempotency.claim(claim(), ownContext())).toEqual({ outcome: { $case: 'absent', value: {} } })
  })

  test('that breaks several is rejected with every wrong field, by its name in the contract', async () => {
    const wrong = {
      ...claim(),
      key: { workspace: '', keyKind: 'Not This', key: 'k'.repeat(256) },
      attemptId: 'no uuid',
      leaseMs: 600_001,
      fingerprint: Buffer.alloc(3),
    }
    const found = await violations(client.idempotency.claim(wrong, ownContext()))
    expect(found.map(({ field }) => field).sort()).toEqual([
      'attempt_id',
      'fingerprint',
      'key.key',
      'key.key_kind',
      'key.workspace',
      'lease_ms',
    ])
    for (const { description } of found) expect(description).not.toBe('')
  })

  test('without a required message is rejected', async () => {
    expect(await violations(client.idempotency.claim({ ...claim(), key: undefined }, ownContext()))).toMatchObject([{ field: 'key' }])
  })

  test('names the place in a list', async () => {
    const wrong = { domain: 'test', hits: 0, descriptors: [{ entries: [{ key: 'a', value: '' }] }, { entries: [{ key: '', value: '' }] }] }
    expect(await violations(client.ratelimit.check(wrong, ownContext()))).toMatchObject([{ field: 'descriptors.1.entries.0.key' }])
  })

  test('counts characters, not bytes', async () => {
    const call = client.idempotency.claim(
      { ...claim(), key: { workspace: 'acme', keyKind: 'client', key: '😀'.repeat(255) } },
      ownContext(),
    )
    await expect(call).resolves.toBeDefined()
  })

  test('is held to one of the values that a field may have', async () => {
    await client.actions.listRuns({ ...requests.listRuns, status: 'success' }, asCaller())
    expect(await violations(client.actions.listRuns({ ...requests.listRuns, status: 'Success' }, asCaller()))).toMatchObject([
      { field: 'status' },
    ])
  })
})

describe('bytes that are not a message of the contract', () => {
  const preview = '/relay.actions.v1.ActionsService/PreviewAction'
  const sent = (bytes: Uint8Array) => rawCall(server.port, preview, frame(bytes), { authorization: `Bearer ${callerToken}` })

  /** A message that holds itself `levels` deep: params.fields.x.list_value.values.list_value.… */
  function nested(levels: number): Buffer {
    const heads: Buffer[] = []
    let length = 0
    const wrap = (tag: number, before: Buffer = Buffer.alloc(0)) => {
      const head = Buffer.concat([before, Buffer.of(tag), varint(length)])
      heads.push(head)
      length += head.length
    }
    for (let level = 0; level < levels; level += 1) {
      wrap(0x0a) // ListValue.values
      wrap(0x32) // Value.list_value
    }
    wrap(0x12, Buffer.of(0x0a, 1, 0x78)) // FieldsEntry.value, after its key "x"
    wrap(0x0a) // Struct.fields
    wrap(0x12, Buffer.of(0x0a, 1, 0x61)) // PreviewActionRequest.params, after its action "a"
    return Buffer.concat(heads.reverse())
  }
  function varint(value: number): Buffer {
    const bytes: number[] = []
    for (; value > 127; value >>>= 7) bytes.push((value & 127) | 128)
    return Buffer.from([...bytes, value])
  }

  test('are rejected as the caller’s mistake', async () => {
    for (const bytes of [Buffer.of(0xff), Buffer.of(0x0a, 0x7f, 0x61), Buffer.of(0x07), Buffer.alloc(100, 0x0b)]) {
      expect(await sent(bytes)).toMatchObject({ status: 3, message: 'The request is not a message of this contract.' })
    }
    expect(server.lines.some(({ level }) => level === 'error')).toBe(false)
  })

  test('nested a hundred thousand levels deep are rejected, and the process lives', async () => {
    const shallow = PreviewActionRequest.decode(nested(3))
    expect(shallow).toMatchObject({ action: 'a', params: { x: [[[undefined]]] } })
    const deep = nested(100_000)
    expect(deep.length).toBeLessThan(1024 * 1024)
    expect(await sent(deep)).toMatchObject({ status: 3 })
    expect(handled).toBe(0)
    await client.actions.listActions({}, asCaller())
  })

  test('never count as our failure', () => {
    const input = methodOf(preview).descriptor.input
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          violationsOf(input, bytes)
        } catch (error) {
          expect(error).toMatchObject({ reason: 'INVALID_REQUEST' })
        }
      }),
    )
  })
})
