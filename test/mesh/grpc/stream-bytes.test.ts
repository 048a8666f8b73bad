/** Clients that send half of what they ask, or take nothing of what they get: what that holds is bounded, and others are served. */
import http2 from 'node:http2'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ActionsServiceService, GetRunRequest, GetRunResponse } from '#gen/relay/actions/v1/actions.ts'
import { streamLimits } from '#mesh/grpc/stream-bytes.ts'
import { frame } from '../../fixtures/mesh/raw-call.ts'
import { type TestClient, type TestServer, asCaller, callerToken, connect, startServer } from '../../fixtures/mesh/server.ts'

const MB = 1_000_000
const runId = '3a033cc1-0000-4000-8000-000000000001'
const patience = { timeout: 20_000 }

let server: TestServer
let client: TestClient
const sessions: http2.ClientHttp2Session[] = []
beforeEach(async () => {
  const response = GetRunResponse.fromPartial({ run: { error: 'x'.repeat(MB) } })
  server = await startServer({ actions: { getRun: async () => response } })
  client = connect(server.address)
})
afterEach(async () => {
  sessions.splice(0).forEach((each) => each.destroy())
  client.channel.close()
  await server.stop()
})

function open(): http2.ClientHttp2Session {
  const session = http2.connect(`http://${server.address}`)
  session.on('error', () => undefined)
  sessions.push(session)
  return session
}

interface Asked {
  stream: http2.ClientHttp2Stream
  /** Of gRPC; undefined until it is refused. */
  status: number | undefined
  responded: boolean
  closed: boolean
}

/** A call of GetRun whose response nobody reads. */
function ask(session: http2.ClientHttp2Session): Asked {
  const { path } = ActionsServiceService.getRun
  const authorization = `Bearer ${callerToken}`
  const stream = session.request({ ':method': 'POST', ':path': path, te: 'trailers', 'content-type': 'application/grpc', authorization })
  const asked: Asked = { stream, status: undefined, responded: false, closed: false }
  stream.on('error', () => undefined)
  stream.on('close', () => (asked.closed = true))
  stream.on('response', (headers) => {
    asked.responded = true
    const status = headers['grpc-status']
    if (status !== undefined) asked.status = Number(status)
  })
  return asked
}

const request = frame(GetRunRequest.encode({ runId }).finish())
const held = async () => Number(/^grpc_server_bytes_in_flight\S* (\d+)/m.exec((await server.metrics.scrape(undefined)).body)?.[1])
const statuses = (all: readonly Asked[]) => new Set(all.flatMap(({ status }) => (status === undefined ? [] : [status])))
const served = async () => expect((await client.actions.getRun({ runId }, asCaller())).run?.error).toHaveLength(MB)

describe('what one connection holds is bounded, and another one is served', { timeout: 60_000 }, () => {
  test('of responses that are not read: more are refused', async () => {
    const session = open()
    const all = Array.from({ length: 30 }, () => ask(session))
    all.forEach(({ stream }) => stream.end(request))
    await expect.poll(() => all.every(({ responded }) => responded), patience).toBe(true)
    expect(statuses(all)).toEqual(new Set([8]))
    expect(await held()).toBeLessThan(streamLimits.connectionLarge + streamLimits.connectionSmall)
    expect(all.filter(({ status }) => status === undefined).length).toBeLessThanOrEqual(Math.floor(streamLimits.connectionLarge / MB))
    await served()
    session.destroy()
    await expect.poll(held, patience).toBe(0)
  })

  test('of requests that have come in part: more are refused', async () => {
    const session = open()
    const all = Array.from({ length: 30 }, () => ask(session))
    // The frame says that there is more to come.
    const part = frame(Buffer.alloc(MB)).subarray(0, MB)
    all.forEach(({ stream }) => stream.write(part))
    await expect.poll(() => statuses(all).size, patience).toBe(1)
    expect(statuses(all)).toEqual(new Set([8]))
    expect(await held()).toBeLessThan(streamLimits.connectionLarge + streamLimits.connectionSmall)
    await served()
    session.destroy()
    await expect.poll(held, patience).toBe(0)
  })
})

test('a response that is not read is thrown away soon after the deadline of its call', { timeout: 60_000 }, async () => {
  const session = open()
  const asked = ask(session)
  asked.stream.end(request)
  await expect.poll(() => asked.responded, patience).toBe(true)
  expect(await held()).toBeGreaterThan(MB)
  await expect.poll(held, patience).toBe(0)
  expect(session.destroyed).toBe(false)
  await served()
})
