import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { CompleteRequest } from '#gen/relay/idempotency/v1/idempotency.ts'
import { type Call, type Context, callerOf, ownContext } from '#mesh/grpc/call.ts'
import { runInScope } from '#mesh/telemetry/scope.ts'
import { newTrace } from '#mesh/telemetry/trace-context.ts'
import { setTracer } from '#mesh/telemetry/tracing.ts'
import { SpanRecorder } from '../../fakes/span-recorder.ts'
import { frame, rawCall } from '../../fixtures/mesh/raw-call.ts'
import { type TestClient, type TestServer, asCaller, connect, peerToken, requests, startServer } from '../../fixtures/mesh/server.ts'

const complete = '/relay.idempotency.v1.IdempotencyService/Complete'
const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

let server: TestServer
let client: TestClient
let seen: Call[] = []
beforeAll(async () => {
  server = await startServer({
    idempotency: {
      complete: async (_, call) => {
        seen.push(call)
        return {}
      },
    },
    actions: {
      listRuns: async (_, call) => {
        seen.push(call)
        server.log.info({ run_id: 'r-1' }, 'from the handler')
        return { runs: [], nextPageToken: '', requestId: call.requestId }
      },
    },
  })
  client = connect(server.address)
})
afterAll(async () => {
  client.channel.close()
  await server.stop()
})
beforeEach(() => {
  seen = []
  server.lines.length = 0
})

describe('what travels with a call', () => {
  test('is the request id, the trace, the caller’s token and who the peer is', async () => {
    const context = asCaller()
    await client.actions.listRuns(requests.listRuns, context)
    expect(seen[0]).toMatchObject({ requestId: context.requestId, trace: context.trace, callerToken: context.callerToken, peer: 'tester' })
    expect(seen[0]!.caller).toMatchObject({ workspace: 'acme', actor: 'ann' })
  })

  test('is passed on unchanged to the next service, which sees the same caller', async () => {
    // Less than the contract's five seconds: it must not grow on the way.
    const context = { ...asCaller(), deadline: Date.now() + 1500 }
    await client.actions.listRuns(requests.listRuns, context)
    await client.actions.listRuns(requests.listRuns, seen[0]!)
    expect(seen[1]).toMatchObject({ requestId: context.requestId, trace: context.trace, caller: { actor: 'ann' } })
    expect(seen[1]!.deadline).toBeLessThan(context.deadline + 1000)
  })

  test('is created if missing or malformed', async () => {
    const body = frame(CompleteRequest.encode(CompleteRequest.fromPartial(requests.complete)).finish())
    const hostile: Record<string, string>[] = [
      {},
      { 'x-request-id': '"><script>', traceparent: 'zz' },
      { 'x-request-id': 'a'.repeat(1000), traceparent: `${traceparent}${traceparent}` },
    ]
    const asPeer = { 'x-relay-peer': peerToken('idempotency') }
    for (const headers of hostile)
      expect(await rawCall(server.port, complete, body, { ...asPeer, ...headers })).toMatchObject({ status: 0 })
    for (const { requestId, trace } of seen) {
      expect(requestId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
      expect(trace.traceId).toMatch(/^[0-9a-f]{32}$/)
    }
    expect(new Set(seen.map(({ requestId }) => requestId)).size).toBe(hostile.length)
  })

  test('keeps a well-formed trace of a caller that is not our client', async () => {
    const body = frame(CompleteRequest.encode(CompleteRequest.fromPartial(requests.complete)).finish())
    await rawCall(server.port, complete, body, { 'x-relay-peer': peerToken('idempotency'), traceparent })
    expect(seen[0]!.trace).toEqual({ traceId: '4bf92f3577b34da6a3ce929d0e0e4736', spanId: '00f067aa0ba902b7', sampled: true })
  })
})

describe('what a call is part of', () => {
  const method = complete.slice(1)
  const runId = '3a033cc1-0000-4000-8000-000000000007'
  const body = frame(CompleteRequest.encode(CompleteRequest.fromPartial(requests.complete)).finish())
  let spans: SpanRecorder
  beforeEach(() => {
    spans = new SpanRecorder()
    server.lines.length = 0
    setTracer(spans.recorder)
  })
  afterEach(() => setTracer(undefined))

  test('is trusted from a service that proves its name: its trace continues, and its run is named', async () => {
    await rawCall(server.port, complete, body, { 'x-relay-peer': peerToken('idempotency'), traceparent, 'x-relay-run': runId })
    expect(spans.named(method)).toMatchObject({ parent: { spanId: '00f067aa0ba902b7' }, attributes: { 'relay.run_id': runId } })
    expect(server.lines).toContainEqual(expect.objectContaining({ trace_id: '4bf92f3577b34da6a3ce929d0e0e4736' }))
  })

  test.each(['forged', ''])('is not believed where the proof is %j: the trace is another, and linked', async (proof) => {
    await rawCall(server.port, complete, body, { ...(proof && { 'x-relay-peer': proof }), traceparent, 'x-relay-run': runId })
    const { parent, start, trace, attributes } = spans.named(method)
    expect([parent, start.links]).toEqual([undefined, [expect.objectContaining({ spanId: '00f067aa0ba902b7' })]])
    expect(trace.traceId).not.toBe('4bf92f3577b34da6a3ce929d0e0e4736')
    expect(attributes).toMatchObject({ 'rpc.response.status_code': 'UNAUTHENTICATED' })
    expect(JSON.stringify([attributes, server.lines])).not.toContain(runId)
  })

  test('names no run with an invalid id', async () => {
    await rawCall(server.port, complete, body, { 'x-relay-peer': peerToken('idempotency'), 'x-relay-run': 'x y' })
    expect(JSON.stringify([spans.named(method).attributes, server.lines])).not.toContain('x y')
  })
})

describe('the source of a call', () => {
  const completed = (context: Partial<Context>, to: TestClient = client) =>
    to.idempotency.complete(requests.complete, { ...ownContext(), ...context })

  test('is what a peer reports, and is passed on to the next service', async () => {
    await completed({ source: '203.0.113.7' })
    await completed(seen[0]!)
    expect(seen.map(({ source }) => source)).toEqual(['203.0.113.7', '203.0.113.7'])
  })

  test('is the address of the connection if a peer reports none', async () => {
    await completed({})
    expect(seen[0]!.source).toBe('127.0.0.1')
  })

  test('is empty if a peer reports something other than an address', async () => {
    await completed({ source: 'localhost' })
    expect(seen[0]!.source).toBeUndefined()
  })

  test('is never what anyone else reports', async () => {
    const outside = connect(server.address, null)
    await outside.actions.listRuns(requests.listRuns, asCaller({ source: '203.0.113.7' }))
    outside.channel.close()
    expect(seen[0]!.source).toBe('127.0.0.1')
  })
})

describe('the log of a call', () => {
  test('is one line, with the call’s ids, method, outcome, duration and who called', async () => {
    const context = asCaller()
    await client.actions.listActions({}, context)
    expect(server.lines).toHaveLength(1)
    expect(server.lines[0]).toMatchObject({
      // Nothing changed and it went well: the gateway's line says so already.
      level: 'debug',
      request_id: context.requestId,
      trace_id: context.trace.traceId,
      method: '/relay.actions.v1.ActionsService/ListActions',
      code: 'OK',
      workspace_id: 'acme',
      actor: 'ann',
      peer: 'tester',
      duration_ms: expect.any(Number),
    })
  })

  test('is at info where the call may have changed something', async () => {
    await client.actions.executeAction({ previewId: 'p', idempotencyKey: undefined }, asCaller()).catch(() => undefined)
    expect(server.lines.at(-1)).toMatchObject({ level: 'info', method: '/relay.actions.v1.ActionsService/ExecuteAction' })
  })

  test('gives the handler’s own lines the same ids', async () => {
    const context = asCaller()
    await client.actions.listRuns(requests.listRuns, context)
    expect(server.lines.map((line) => [line['msg'], line['request_id'], line['trace_id']])).toEqual([
      ['from the handler', context.requestId, context.trace.traceId],
      ['call', context.requestId, context.trace.traceId],
    ])
  })

  test('names the reason of a refusal, and shows no token', async () => {
    await client.actions.listActions({}, ownContext()).catch(() => undefined)
    await client.actions.listActions({}, asCaller({ callerToken: 'a-wrong-token' })).catch(() => undefined)
    expect(server.lines).toMatchObject([{ code: 'UNAUTHENTICATED', reason: 'UNAUTHENTICATED' }, { code: 'UNAUTHENTICATED' }])
    expect(JSON.stringify(server.lines)).not.toContain('a-wrong-token')
    // How every JWT begins.
    expect(JSON.stringify(server.lines)).not.toContain('eyJ')
  })

  test('is counted by method and code', async () => {
    await client.actions.listActions({}, asCaller())
    const counted = await server.metrics.registry.getSingleMetricAsString('grpc_server_handled_total')
    expect(counted).toMatch(/grpc_service="relay.actions.v1.ActionsService",grpc_method="ListActions",grpc_code="OK"/)
  })
})

test('a method that only peers may call has no caller to ask for', async () => {
  await client.idempotency.complete(requests.complete, asCaller())
  expect(() => callerOf(seen[0]!)).toThrow('No valid credentials')
})

test('background work has its own ids, or those of the request that started it, and no waiting caller', () => {
  const [one, other] = [ownContext(), ownContext()]
  expect(one.requestId).not.toBe(other.requestId)
  expect(one.trace.traceId).not.toBe(other.trace.traceId)
  expect(one).not.toHaveProperty('deadline')
  const trace = newTrace()
  expect(runInScope({ work: { requestId: 'given' }, trace }, ownContext)).toEqual({ requestId: 'given', trace })
})
