import { once } from 'node:events'
import http2 from 'node:http2'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { CheckRequest } from '#gen/relay/ratelimit/v1/ratelimit.ts'
import { CompleteRequest } from '#gen/relay/idempotency/v1/idempotency.ts'
import { type Call, ownContext } from '#mesh/grpc/call.ts'
import { frame, rawCall } from '../../fixtures/mesh/raw-call.ts'
import { type TestClient, type TestServer, connect, failureOf, peerToken, requests, startServer } from '../../fixtures/mesh/server.ts'
import { until } from '../../fixtures/mesh/until.ts'

const complete = '/relay.idempotency.v1.IdempotencyService/Complete'
const check = '/relay.ratelimit.v1.RateLimitService/Check'
const completeBytes = frame(CompleteRequest.encode(CompleteRequest.fromPartial(requests.complete)).finish())
const checkBytes = frame(CheckRequest.encode(CheckRequest.fromPartial(requests.check)).finish())
const asPeer = { 'x-relay-peer': peerToken('idempotency') }

let server: TestServer
let client: TestClient
let seen: Call[]
let handle: (call: Call) => Promise<void>
beforeEach(async () => {
  seen = []
  handle = async () => undefined
  const note = async (call: Call) => {
    seen.push(call)
    await handle(call)
  }
  server = await startServer({
    idempotency: {
      complete: async (_, call) => {
        await note(call)
        return {}
      },
    },
    ratelimit: {
      check: async (_, call) => {
        await note(call)
        return { granted: 1, decisions: [] }
      },
    },
  })
  client = connect(server.address)
})
afterEach(async () => {
  client.channel.close()
  await server.stop()
})

const forever = () => new Promise<void>(() => undefined)
/** Whether the server still does its work. */
const lives = () => client.idempotency.renew({ key: requests.complete.key, token: requests.complete.runId, leaseMs: 0 }, ownContext())

describe('a deadline', () => {
  test('is kept by the server when the handler hangs', async () => {
    handle = forever
    const started = Date.now()
    const answer = await rawCall(server.port, complete, completeBytes, { ...asPeer, 'grpc-timeout': '200m' })
    expect(answer).toMatchObject({ status: 4 })
    expect(Date.now() - started).toBeGreaterThanOrEqual(190)
    expect(Date.now() - started).toBeLessThan(1000)
    expect(seen[0]!.signal.aborted).toBe(true)
  })

  test('is the contract’s if the caller has none or would wait longer', async () => {
    handle = forever
    const started = Date.now()
    for (const headers of [asPeer, { ...asPeer, 'grpc-timeout': '60S' }])
      expect(await rawCall(server.port, check, checkBytes, headers)).toMatchObject({ status: 4 })
    expect(Date.now() - started).toBeLessThan(2000)
    expect(seen).toHaveLength(2)
  })

  test('that leaves too little time is rejected before any work', async () => {
    const answer = await rawCall(server.port, complete, completeBytes, { ...asPeer, 'grpc-timeout': '5m' })
    expect(answer).toMatchObject({ status: 4 })
    expect(seen).toHaveLength(0)
    await expect.poll(() => server.lines).toMatchObject([{ reason: 'DEADLINE_TOO_SHORT' }])
  })

  test('hides what the handler throws afterwards', async () => {
    let late: Promise<void> | undefined
    handle = (call) =>
      (late = new Promise((_, reject) => call.signal.addEventListener('abort', () => setImmediate(() => reject(new Error('too late'))))))
    await rawCall(server.port, complete, completeBytes, { ...asPeer, 'grpc-timeout': '100m' })
    await expect(late).rejects.toThrow('too late')
    await lives()
  })
})

describe('a caller that leaves', () => {
  test('aborts the signal of its call, and leaves one line', async () => {
    handle = forever
    const leaving = new AbortController()
    const call = client.idempotency.complete(requests.complete, { ...ownContext(), signal: leaving.signal })
    await until('the handler has the call', () => seen.length === 1)
    expect(seen[0]!.signal.aborted).toBe(false)
    leaving.abort()
    await expect(call).rejects.toMatchObject({ code: 'CANCELLED' })
    await until('the signal is aborted', () => seen[0]!.signal.aborted)
    await until('the line is written', () => server.lines.length === 1)
    expect(server.lines[0]).toMatchObject({ level: 'info', code: 'CANCELLED' })
  })

  test('by losing its connection does the same', async () => {
    handle = forever
    const session = http2.connect(`http://${server.address}`)
    session.on('error', () => undefined)
    const stream = session.request({ ':method': 'POST', ':path': complete, te: 'trailers', 'content-type': 'application/grpc', ...asPeer })
    stream.on('error', () => undefined)
    stream.end(completeBytes)
    await until('the handler has the call', () => seen.length === 1)
    expect(seen[0]!.signal.aborted).toBe(false)
    session.destroy()
    await until('the signal is aborted', () => seen[0]!.signal.aborted)
  })

  test('is not seen in a call that ended well', async () => {
    await client.idempotency.complete(requests.complete, ownContext())
    await lives()
    expect(seen[0]!.signal.aborted).toBe(false)
  })
})

describe('oversized or broken input is rejected, and the process lives', () => {
  afterEach(async () => {
    if (seen.length > 0) throw new Error('a handler was given what should have been refused')
    await lives()
  })
  const megabyte = 1024 * 1024

  test('a message of more than 1 MiB', async () => {
    expect(await rawCall(server.port, complete, frame(Buffer.alloc(megabyte + 1)), asPeer)).toMatchObject({ status: 8 })
  })

  test('a message that says it has 4 GiB', async () => {
    expect(await rawCall(server.port, complete, Buffer.from([0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]), asPeer)).toMatchObject({ status: 8 })
  })

  test('a small message that unpacks to more than 1 MiB', async () => {
    const bomb = gzipSync(Buffer.alloc(100 * megabyte))
    expect(bomb.length).toBeLessThan(megabyte)
    expect(await rawCall(server.port, complete, frame(bomb, true), { ...asPeer, 'grpc-encoding': 'gzip' })).toMatchObject({ status: 8 })
  })

  test('a message that says it is compressed and is not', async () => {
    const broken = gzipSync(Buffer.from('a message')).fill(0x55, 12)
    for (const bytes of [Buffer.from('not gzip at all'), broken, Buffer.alloc(0)]) {
      const { status } = await rawCall(server.port, complete, frame(bytes, true), { ...asPeer, 'grpc-encoding': 'gzip' })
      expect(status).not.toBe(0)
    }
  })

  test('metadata of more than 16 KiB', async () => {
    const withPadding = (bytes: number) => rawCall(server.port, complete, completeBytes, { ...asPeer, 'x-padding': 'x'.repeat(bytes) })
    expect(await withPadding(17 * 1024)).toMatchObject({ status: 3, message: 'Call metadata must not exceed 16 KiB.' })
    expect((await withPadding(70 * 1024)).status).toBeUndefined()
    expect((await withPadding(15 * 1024)).status).toBe(0)
    seen = []
  })

  test('a message cut in the midst, two messages, none', async () => {
    for (const body of [completeBytes.subarray(0, 20), Buffer.concat([completeBytes, completeBytes]), Buffer.alloc(0)]) {
      const { status } = await rawCall(server.port, complete, body, { ...asPeer, 'grpc-timeout': '500m' })
      expect(status).not.toBe(0)
    }
  })

  test('a method that no contract has', async () => {
    expect(await rawCall(server.port, '/relay.idempotency.v1.IdempotencyService/Steal', completeBytes, asPeer)).toMatchObject({
      status: 12,
    })
  })
})

test('a response that is too large to send is our failure, not the end of the process', async () => {
  const large = await startServer({
    idempotency: {
      claim: async () => ({ outcome: { $case: 'completed', value: { runId: 'r', response: Buffer.alloc(5 * 1024 * 1024) } } }),
    },
  })
  const other = connect(large.address)
  try {
    const request = { key: requests.complete.key, attemptId: requests.complete.runId, runId: requests.complete.runId, leaseMs: 0 }
    await expect(other.idempotency.claim(request, ownContext())).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' })
    await other.actions.listActions({}, ownContext()).catch((error: unknown) => expect(error).toMatchObject({ code: 'UNAUTHENTICATED' }))
  } finally {
    other.channel.close()
    await large.stop()
  }
})

test('requests of 1 MB beyond the limit are rejected; small ones are served meanwhile, and large ones once there is space again', async () => {
  let goOn = () => undefined as void
  const gate = new Promise<void>((resolve) => (goOn = resolve))
  handle = () => gate
  // An unknown field, which every decoder passes over.
  const padding = Buffer.concat([Buffer.from([0xa2, 0x06, 0xc0, 0x84, 0x3d]), Buffer.alloc(1_000_000)])
  const large = frame(Buffer.concat([CompleteRequest.encode(CompleteRequest.fromPartial(requests.complete)).finish(), padding]))
  const held = Array.from({ length: 16 }, () => rawCall(server.port, complete, large, asPeer))
  await until('as many as there is room for', () => seen.length === 16, 20_000)
  expect(await rawCall(server.port, complete, large, asPeer)).toMatchObject({
    status: 8,
    message: expect.stringContaining('is overloaded') as string,
  })
  await lives()
  goOn()
  await Promise.all(held)
  expect(await rawCall(server.port, complete, large, asPeer)).toMatchObject({ status: 0 })
}, 30_000)

describe('draining', () => {
  test('lets calls in progress finish and rejects new ones', async () => {
    let finish = () => {}
    handle = () => new Promise((resolve) => (finish = resolve))
    const inFlight = client.idempotency.complete(requests.complete, ownContext())
    await until('the handler has the call', () => seen.length === 1)
    const drained = server.grpc.drain(5000)
    await expect(client.ratelimit.check(requests.check, ownContext())).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    finish()
    await expect(inFlight).resolves.toEqual({})
    expect(await drained).toBe(true)
  })

  test('cuts calls that do not end in time, reports it, and aborts the handler', async () => {
    handle = forever
    const cut = failureOf(client.idempotency.complete(requests.complete, ownContext()))
    await until('the handler has the call', () => seen.length === 1)
    expect(await server.grpc.drain(100)).toBe(false)
    expect(await cut).toMatchObject({ code: 'UNAVAILABLE' })
    await until('the signal is aborted', () => seen[0]!.signal.aborted)
  })

  test('does not wait for idle connections', async () => {
    const session = http2.connect(`http://${server.address}`)
    session.on('error', () => undefined)
    await once(session, 'connect')
    await client.idempotency.complete(requests.complete, ownContext())
    const started = Date.now()
    expect(await server.grpc.drain(10_000)).toBe(true)
    expect(Date.now() - started).toBeLessThan(5000)
    session.destroy()
  })
})

test('a taken port is an error', async () => {
  await expect(startServer({ port: server.port })).rejects.toThrow(/EADDRINUSE|address/i)
})
