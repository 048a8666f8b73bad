import { type Server, createServer, request as httpRequest } from 'node:http'
import { type AddressInfo, type Socket, connect } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { UnreadBodies, type UnreadLimits } from '../../gateway/unread.ts'
import { type TestGateway, apiKey, parseRaw, startGateway } from './gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.stop())

const body = JSON.stringify({ action: 'a', params: { text: 'x'.repeat(1_000_000) } })

describe('a large body that nobody reads', () => {
  test.each([
    ['without a key', { path: '/actions/preview', headers: {} }, 401],
    ['for what is not there', { path: '/nothing', headers: {} }, 404],
    ['that came with a method that the path does not take', { path: '/actions', headers: {} }, 405],
    ['of another type', { path: '/actions/preview', headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'text/plain' } }, 415],
  ])('%s is answered before it was sent, with all that any answer has', async (_what, { path, headers }, expected) => {
    const started = httpRequest(gateway.url + path, { method: 'POST', headers: { ...headers, 'content-length': 1_000_000 } })
    started.on('error', () => undefined)
    started.flushHeaders()
    const answer = await new Promise<{ status: number; headers: NodeJS.Dict<string | string[]>; text: string }>((resolve) => {
      started.on('response', (response) => {
        let text = ''
        response.on('data', (chunk: Buffer) => {
          text += chunk.toString()
          if (text.endsWith('}')) resolve({ status: response.statusCode!, headers: response.headers, text })
        })
        response.on('error', () => undefined)
      })
    })
    expect(answer.status).toBe(expected)
    expect(answer.headers).toMatchObject({ 'content-type': 'application/problem+json; charset=utf-8', 'x-content-type-options': 'nosniff' })
    expect(JSON.parse(answer.text)).toMatchObject({ status: expected, request_id: answer.headers['x-request-id'] })
    started.destroy()
  })

  test('leaves the connection as it was: the next request on it is served', async () => {
    const second = `GET /actions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${apiKey}\r\nConnection: close\r\n\r\n`
    const first = `POST /actions/preview HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
    const text = await gateway.raw(first, second)
    const responses = text.split(/(?=HTTP\/1\.1 )/)
    expect(responses.map((answer) => parseRaw(answer).status)).toEqual([401, 200])
  })

  test('of hundreds at once is answered to each, and others are served meanwhile', { timeout: 60_000 }, async () => {
    const refused = Promise.all(
      Array.from({ length: 200 }, async () => {
        const response = await fetch(`${gateway.url}/actions/preview`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body,
        })
        await response.text()
        return response.status
      }),
    )
    for (let index = 0; index < 5; index += 1) expect((await gateway.call('/actions')).status).toBe(200)
    expect(new Set(await refused)).toEqual(new Set([401]))
  })

  test('is freed soon: discarding 32 of 1 MB starts at least three minor collections', async () => {
    const collections: unknown[] = []
    const { gc } = globalThis
    globalThis.gc = ((options: unknown) => void collections.push(options)) as never
    try {
      for (let sent = 0; sent < 32; sent += 1) {
        const headers = { 'content-type': 'application/json' }
        await (await fetch(`${gateway.url}/actions/preview`, { method: 'POST', headers, body })).text()
      }
      await expect.poll(() => collections.length).toBeGreaterThanOrEqual(3)
    } finally {
      globalThis.gc = gc
    }
    expect(collections).toContainEqual({ type: 'minor' })
  })

  test('that never comes is waited for only so long', { timeout: 20_000 }, async () => {
    const socket = connect(gateway.port, '127.0.0.1')
    socket.on('error', () => undefined)
    socket.resume().write(`POST /actions/preview HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n`)
    const start = performance.now()
    await new Promise<void>((resolve) => socket.on('close', () => resolve()))
    expect(performance.now() - start).toBeLessThan(15_000)
    expect((await gateway.call('/actions')).status).toBe(200)
  })
})

describe('those who wait for their turn to send it', () => {
  let server: Server
  const sockets: Socket[] = []
  let answered = 0
  const serve = async (limits: Partial<UnreadLimits>) => {
    const bodies = new UnreadBodies(limits)
    answered = 0
    server = createServer((request, response) => bodies.answer(request, response, { status: 401, headers: {}, body: '{}' }))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return bodies
  }
  afterEach(() => {
    sockets.splice(0).forEach((each) => each.destroy())
    server.close()
  })
  /** A client that sends no body; whether it was cut. */
  const start = () => {
    const client = { socket: connect((server.address() as AddressInfo).port, '127.0.0.1'), closed: false }
    sockets.push(client.socket)
    client.socket.on('error', () => undefined).on('close', () => (client.closed = true))
    client.socket.once('data', () => (answered += 1)).write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n`)
    return client
  }

  test('hold no turn once they have gone: the queue empties by itself', async () => {
    const bodies = await serve({ turnMs: 60_000 })
    const clients = Array.from({ length: 40 }, start)
    await expect.poll(() => answered).toBe(40)
    await expect.poll(() => bodies.waiting).toBe(38)
    clients.forEach(({ socket }) => socket.destroy())
    await expect.poll(() => bodies.waiting).toBe(0)
    // Those whose turn it was have given it up too.
    const body = 'x'.repeat(1_000_000)
    const { port } = server.address() as AddressInfo
    const text = await (await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body })).text()
    expect(text).toBe('{}')
    await expect.poll(() => bodies.waiting).toBe(0)
  })

  test('are limited in number: who comes beyond that is answered, and closed', async () => {
    const bodies = await serve({ turnMs: 60_000, waiting: 10 })
    Array.from({ length: 12 }, start)
    await expect.poll(() => bodies.waiting).toBe(10)
    const late = [start(), start(), start()]
    await expect.poll(() => late.every(({ closed }) => closed)).toBe(true)
    expect(bodies.waiting).toBe(10)
    await expect.poll(() => answered).toBe(15)
  })

  test('are all closed after a time that does not grow with their number', async () => {
    const bodies = await serve({ turnMs: 800, waitMs: 800 })
    const begun = performance.now()
    const clients = Array.from({ length: 60 }, start)
    await expect.poll(() => clients.every(({ closed }) => closed), { timeout: 15_000 }).toBe(true)
    // Two at a time, one after the other, would take 24 s.
    expect(performance.now() - begun).toBeLessThan(12_000)
    expect(bodies.waiting).toBe(0)
  })
})
