/** Interim responses say nothing of what came of a request: the final one does, whatever comes before it (RFC 9110, 15.2). */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ApiFailure, providerApi } from '../../../../services/actions/adapters/provider-http.ts'
import { type RawServer, startRawServer } from '../../../fakes/raw-server.ts'
import { closing, run } from '../adapter-harness.ts'
import { account } from '../provider-harness.ts'
import { expectError, send } from '../webhook-harness.ts'

const final = (body = '{"ok":true}') => `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
const interim = (status: number, headers = '') => `HTTP/1.1 ${status} Whatever\r\n${headers}\r\n`
const serve = async (answer: Parameters<typeof startRawServer>[0]): Promise<RawServer> => closing(await startRawServer(answer))

const call = (server: RawServer, timeoutMs = 5_000) => {
  const api = providerApi({
    provider: 'google',
    readError: () => undefined,
    baseUrl: new URL(server.url),
    connections: account(),
    retryMs: 1,
    timeoutMs,
  })
  return () => api.call(run({ connectionId: 'c' }), { method: 'POST', path: '/things', json: { a: 1 }, effect: true })
}

const before: [string, string[]][] = [
  ['100 Continue', [interim(100)]],
  ['101 without a protocol', [interim(101)]],
  ['101 with a protocol that nobody asked for', [interim(101, 'connection: upgrade\r\nupgrade: h2c\r\n')]],
  ['early hints', [interim(103, 'link: </a.css>; rel=preload\r\n')]],
  ['many of them, in any order', [103, 100, 199, 102, 101, 100, 100, 103, 150].map((status) => interim(status))],
  ['a hundred of one', Array.from({ length: 100 }, () => interim(100))],
]

describe.each(before)('after %s', (_, pieces) => {
  test('a webhook has its final status', async () => {
    const server = await serve(() => [...pieces, final()])
    expect(await send({ url: server.url, body: { a: 1 } })).toEqual({
      status: 'success',
      result: { status_code: 200, response: '{"ok":true}' },
    })
    const refusing = await serve(() => [`${pieces.join('')}HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy`])
    expect(expectError(await send({ url: refusing.url }), 'failed', 'WEBHOOK_STATUS')).toBe('503: busy')
  })

  test('a call to a provider has its final status, each time on one connection', async () => {
    const server = await serve((index) => (index < 2 ? [...pieces, final()] : [pieces.join('') + final()]))
    const calling = call(server)
    for (let index = 0; index < 3; index++) {
      expect(await calling()).toEqual({ status: 200, json: { ok: true } })
      // The connection is free again a turn after its response was read.
      await new Promise(setImmediate)
    }
    expect([server.requests.length, server.connections]).toEqual([3, 1])
  })
})

test("wherever the network cuts them, the final response is read whole, and its body is nobody else's", async () => {
  const heads = fc.array(
    fc.tuple(fc.integer({ min: 100, max: 199 }), fc.constantFrom('', 'x: 1\r\n', 'link: </a>; rel=b\r\nserver: c\r\n')),
    { maxLength: 5 },
  )
  const body = fc.constantFrom('{"a":1}', 'HTTP/1.1 100 Continue\r\n\r\n', '\r\n\r\nHTTP/1.1 500 No\r\n\r\n', '')
  await fc.assert(
    fc.asyncProperty(heads, body, fc.array(fc.nat(400), { maxLength: 8 }), async (list, text, cuts) => {
      const bytes = list.map(([status, headers]) => interim(status, headers)).join('') + final(text)
      const at = [...new Set(cuts.map((cut) => cut % bytes.length))].toSorted((one, other) => one - other)
      const server = await startRawServer(() => [0, ...at].map((from, index) => bytes.slice(from, at[index])))
      try {
        expect(await send({ url: server.url })).toEqual({ status: 'success', result: { status_code: 200, response: text } })
      } finally {
        await server.close()
      }
    }),
    { numRuns: 60 },
  )
})

describe('a server that never ends', () => {
  const endless = () => {
    function* more() {
      for (;;) yield interim(100, `x: ${'y'.repeat(1000)}\r\n`)
    }
    return { [Symbol.iterator]: more } as unknown as string[]
  }

  test('with interim responses is left when they are too many, and the outcome says so', async () => {
    const server = await serve(endless)
    const message = expectError(await send({ url: server.url }, { timeoutMs: 600_000 }), 'unknown', 'WEBHOOK_HEADERS_TOO_LARGE')
    expect(message).toContain('interim responses of more than 64 KiB')
    await expect(call(server, 600_000)()).rejects.toMatchObject({ kind: 'unclear', reason: 'PROVIDER_HEADERS_TOO_LARGE' })
  })

  test('with one endless interim response is left too', async () => {
    const server = await serve(() => [`HTTP/1.1 100 Continue\r\nx: ${'a'.repeat(200_000)}`])
    expectError(await send({ url: server.url }, { timeoutMs: 600_000 }), 'unknown', 'WEBHOOK_HEADERS_TOO_LARGE')
  })

  test('with interim responses and then silence is waited for no longer than any other', async () => {
    const server = await serve(() => [interim(100), interim(102)])
    expectError(await send({ url: server.url }, { timeoutMs: 100 }), 'unknown', 'WEBHOOK_TIMEOUT')
    await expect(call(server, 100)()).rejects.toMatchObject({ kind: 'unclear', reason: 'PROVIDER_TIMEOUT' })
  })
})

test('an interim response and a cut leave the outcome unknown', async () => {
  const server = await serve(() => [interim(100)])
  const outcome = send({ url: server.url })
  await expect.poll(() => server.requests.length).toBe(1)
  await server.close()
  expectError(await outcome, 'unknown', 'WEBHOOK_CONNECTION_LOST')
})

test('what a provider sends on an idle connection ends it, and is not a response to the next call', async () => {
  const server = await serve((index) => (index === 0 ? [final() + final('{"forged":true}')] : [final()]))
  const calling = call(server)
  // Either the forged one shows at once, or the connection is given up: never is it the answer to another call.
  const first = await calling().catch((error: unknown) => error)
  if (first instanceof ApiFailure) expect(first.kind).toBe('unclear')
  else expect(first).toEqual({ status: 200, json: { ok: true } })
  await new Promise((done) => setTimeout(done, 20))
  expect(await calling()).toEqual({ status: 200, json: { ok: true } })
})
