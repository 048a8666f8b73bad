import { connect } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { drain } from '../../gateway/app.ts'
import { type TestGateway, apiKey, parseRaw, startGateway } from './gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway({ HEADERS_TIMEOUT: '300ms', REQUEST_TIMEOUT: '600ms', KEEP_ALIVE_TIMEOUT: '2s' })
})
afterAll(() => gateway.stop())
afterEach(() => void (gateway.actions.asked.length = 0))

const auth = `Authorization: Bearer ${apiKey}\r\n`
const closing = 'Connection: close\r\n'
/** The beginning of a preview. */
const post = `POST /actions/preview HTTP/1.1\r\nHost: a\r\n${auth}`
/** One request on a connection of its own. */
const send = async (...chunks: (string | Buffer)[]) => parseRaw(await gateway.raw(...chunks))
const reasonOf = ({ body }: { body: string }) => (JSON.parse(body) as { reason: string }).reason

/** What every refusal has, however early it comes. */
function expectProblem(answer: ReturnType<typeof parseRaw>, status: number, reason: string): void {
  expect(answer.status).toBe(status)
  expect(reasonOf(answer)).toBe(reason)
  expect(answer.headers.get('content-type')).toBe('application/problem+json; charset=utf-8')
  const id = answer.headers.get('x-request-id')
  expect(id).toMatch(/^[0-9a-f-]{36}$/)
  expect((JSON.parse(answer.body) as { request_id: string }).request_id).toBe(id)
  expect(answer.headers.get('x-content-type-options')).toBe('nosniff')
}

describe('the Host header', () => {
  test.each([
    ['missing', ''],
    ['sent twice', 'Host: a\r\nHost: a\r\n'],
    ['sent twice, spelled differently', 'Host: a\r\nhOST: b\r\n'],
    ['empty', 'Host:\r\n'],
  ])('%s is refused', async (_what, hosts) => {
    expectProblem(await send(`GET /actions HTTP/1.1\r\n${hosts}${auth}${closing}\r\n`), 400, 'HOST_INVALID')
    expect(gateway.actions.asked).toEqual([])
  })

  test('sent once is let through', async () => {
    expect((await send(`GET /actions HTTP/1.1\r\nHost: a\r\n${auth}${closing}\r\n`)).status).toBe(200)
  })
})

describe('a header that counts once', () => {
  test.each([
    ['Authorization', auth + auth.toLowerCase().replace(apiKey.toLowerCase(), apiKey)],
    ['Content-Type', `${auth}Content-Type: application/json\r\nContent-Type: text/plain\r\n`],
    ['Idempotency-Key', `${auth}Idempotency-Key: a\r\nIdempotency-Key: a\r\n`],
    ['X-Signature', `${auth}X-Signature: a\r\nX-Signature: b\r\n`],
    ['Origin', `${auth}Origin: https://a\r\nOrigin: https://b\r\n`],
  ])('is refused twice: %s', async (_name, headers) => {
    expectProblem(
      await send(`POST /actions/execute HTTP/1.1\r\nHost: a\r\n${headers}${closing}Content-Length: 2\r\n\r\n{}`),
      400,
      'HEADER_REPEATED',
    )
  })

  test('is found behind thousands of others: none is dropped', async () => {
    const many = 'a:\r\n'.repeat(2500)
    expectProblem(await send(`GET /actions HTTP/1.1\r\nHost: a\r\n${auth}${many}Host: b\r\n${closing}\r\n`), 400, 'HOST_INVALID')
  })
})

describe('what is not one clear request', () => {
  test.each([
    ['both lengths', `${post}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['two lengths', `${post}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} `],
    ['a length that is none', `${post}Content-Length: +2\r\n\r\n{}`],
    ['an encoding that hides chunked', `${post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
    ['a blank before the colon', `GET /actions HTTP/1.1\r\nHost : a\r\n${auth}\r\n`],
    ['a folded header', `GET /actions HTTP/1.1\r\nHost: a\r\n${auth}X: a\r\n b\r\n\r\n`.replace('X: a\r\n b', 'X\r\n : b')],
    ['NUL in a header', `GET /actions HTTP/1.1\r\nHost: a\r\n${auth}X: a\0b\r\n\r\n`],
    ['no HTTP at all', 'hello\r\n\r\n'],
    ['an HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['a chunk size that is none', `${post}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n`],
  ])('is refused, and the connection closed: %s', async (_what, text) => {
    expectProblem(await send(text), 400, 'MALFORMED_REQUEST')
    expect(gateway.actions.asked).toEqual([])
  })

  test('smuggles no second request', async () => {
    const smuggled = `GET /actions HTTP/1.1\r\nHost: a\r\n${auth}\r\n`
    const text = await gateway.raw(
      `${post}Content-Length: ${smuggled.length + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
    )
    expect(text.match(/HTTP\/1\.1 /g)).toHaveLength(1)
    expect(gateway.actions.asked).toEqual([])
  })

  test('with an expectation that nobody knows is served without it', async () => {
    expect((await send(`GET /actions HTTP/1.1\r\nHost: a\r\n${auth}Expect: the-unexpected\r\n${closing}\r\n`)).status).toBe(200)
  })
})

describe('sizes', () => {
  test('headers over 16 KiB are refused', async () => {
    expectProblem(await send(`GET /actions HTTP/1.1\r\nHost: a\r\n${auth}X: ${'x'.repeat(17 * 1024)}\r\n\r\n`), 431, 'HEADERS_TOO_LARGE')
  })

  test('headers of nearly 16 KiB are taken', async () => {
    expect((await send(`GET /actions HTTP/1.1\r\nHost: a\r\n${auth}X: ${'x'.repeat(15 * 1024)}\r\n${closing}\r\n`)).status).toBe(200)
  })

  const preview = (length: number) => `{"action":"a","params":{"x":"${'x'.repeat(length - 31)}"}}`

  test('a body of 1 MiB is as much as there may be', async () => {
    expect((await gateway.call('/actions/preview', { body: preview(1024 * 1024 - 1024) })).status).toBe(200)
    const response = await gateway.call('/actions/preview', { body: preview(1024 * 1024 + 1) })
    expect(response.status).toBe(413)
    expect(await response.json()).toMatchObject({ reason: 'BODY_TOO_LARGE' })
  })

  test('a body over 1 MiB without a length is refused too', async () => {
    const chunk = Buffer.alloc(64 * 1024, 'x')
    const head = `${post}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`
    const chunks = Array.from({ length: 17 }, () => [`${chunk.length.toString(16)}\r\n`, chunk, '\r\n']).flat()
    expectProblem(await send(head, ...chunks), 413, 'BODY_TOO_LARGE')
  })

  test('a part of the path may be long, but not endless', async () => {
    expect((await gateway.call(`/actions/runs/${'x'.repeat(500)}`)).status).toBe(400)
    const response = await gateway.call(`/actions/runs/${'x'.repeat(2000)}`)
    expect(response.status).toBe(414)
    expect(await response.json()).toMatchObject({ reason: 'URL_TOO_LONG' })
  })
})

describe('time', () => {
  test('headers that do not arrive are given up', async () => {
    expectProblem(await send('GET /actions HTTP/1.1\r\nHost: a\r\n'), 408, 'REQUEST_TIMEOUT')
  })

  test('a body that does not arrive is given up', async () => {
    const answer = await send(`${post}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"act`)
    expectProblem(answer, 408, 'REQUEST_TIMEOUT')
    expect(gateway.actions.asked).toEqual([])
  })
})

describe('a body', () => {
  const preview = (headers: Record<string, string>, body: string | Buffer = '{"action":"a"}') =>
    fetch(`${gateway.url}/actions/preview`, { method: 'POST', headers: { authorization: `Bearer ${apiKey}`, ...headers }, body })

  test.each([
    'application/json',
    'application/json; charset=utf-8',
    'application/json;charset=UTF-8',
    'Application/JSON; charset="utf-8"',
    'application/json;',
    'application/json; charset=utf8',
    'application/json; charset="UTF8"; odata.metadata=none',
    'application/json;odata=verbose',
    'application/json;;charset=utf-8;',
  ])('is taken as %s', async (type) => {
    expect((await preview({ 'content-type': type })).status).toBe(200)
  })

  test.each([
    'text/plain',
    'application/json; charset=latin1',
    'application/json; charset=utf-16; charset=utf-8',
    'application/json; charset=utf-8; charset=utf-16',
    'application/json; charset=utf-8, text/plain',
    'application/xml',
    'application/jsonp',
    'application/x-www-form-urlencoded',
    'nonsense',
    'application/json, text/plain',
  ])('is refused as %s', async (type) => {
    const response = await preview({ 'content-type': type })
    expect(response.status).toBe(415)
    expect(await response.json()).toMatchObject({ reason: 'UNSUPPORTED_MEDIA_TYPE' })
  })

  test('is refused without a type, and compressed', async () => {
    expectProblem(await send(`${post}${closing}Content-Length: 14\r\n\r\n{"action":"a"}`), 415, 'UNSUPPORTED_MEDIA_TYPE')
    expect((await preview({ 'content-type': 'application/json', 'content-encoding': 'gzip' })).status).toBe(415)
  })

  test('that is within its limit and too large as a message is told so: 413, and nobody is asked', async () => {
    const items = Array.from({ length: 19_900 }, () => 'x'.repeat(49))
    const body = JSON.stringify({ action: 'a', params: { items } })
    const full = body.replace('x"', `${'x'.repeat(1024 * 1024 - body.length)}x"`)
    expect(full).toHaveLength(1024 * 1024)
    const response = await preview({ 'content-type': 'application/json' }, full)
    expect([response.status, await response.json()]).toEqual([
      413,
      expect.objectContaining({ reason: 'BODY_TOO_LARGE', detail: expect.stringContaining('encoded as protobuf') as string }),
    ])
    expect(gateway.actions.asked).toEqual([])
  })

  test('is missed where there is none', async () => {
    for (const headers of [{}, { 'content-type': 'application/json' }]) {
      const response = await preview(headers as Record<string, string>, Buffer.alloc(0))
      expect(response.status).toBe(400)
      expect(((await response.json()) as { detail: string }).detail).toContain('Send a JSON object')
    }
  })

  test.each([
    ['{"action":"a","params":{"b":1,"b":2}}', 'params.b'],
    ['{"action":"a","params":{"__proto__":{}}}', 'params.__proto__'],
    ['{"action":"a","params":{"n":9007199254740993}}', 'params.n'],
    ['{"action":"a","parameters":{}}', 'parameters'],
    ['{"action":["a"]}', 'action'],
  ])('is refused by field: %s', async (body, field) => {
    const response = await preview({ 'content-type': 'application/json' }, body)
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ violations: [{ field }], detail: expect.stringContaining(field) as string })
  })
})

describe('paths and methods', () => {
  test('a path with broken percent-encoding is refused, as a query with it is', async () => {
    for (const path of ['/actions/runs/%zz', '/actions/runs/%ff', '/actions/runs?status=%zz']) {
      const response = await gateway.call(path)
      expect(response.status).toBe(400)
      expect(await response.json()).toMatchObject({ reason: 'INVALID_URL' })
    }
  })

  test('a method that a path does not take is told which it takes', async () => {
    const response = await gateway.call('/actions/execute')
    expect(response.status).toBe(405)
    expect(response.headers.get('allow')).toBe('POST, OPTIONS')
    const deleted = await gateway.call('/actions', { method: 'DELETE' })
    expect(deleted.status).toBe(405)
    expect(deleted.headers.get('allow')).toBe('GET, HEAD, OPTIONS')
  })

  test('OPTIONS says what a path takes', async () => {
    const answer = await send(`OPTIONS /actions/execute HTTP/1.1\r\nHost: a\r\n${closing}\r\n`)
    expect(answer.status).toBe(204)
    expect(answer.headers.get('allow')).toBe('POST, OPTIONS')
  })

  test('methods of other protocols are answered like any other', async () => {
    const { status } = await send(`PROPFIND /nope HTTP/1.1\r\nHost: a\r\n${closing}\r\n`)
    expect(status).toBe(404)
  })

  test('HEAD is GET without the body', async () => {
    const response = await gateway.call('/actions', { method: 'HEAD' })
    expect(response.status).toBe(200)
    expect(Number(response.headers.get('content-length'))).toBeGreaterThan(100)
    expect(await response.text()).toBe('')
  })

  test.each(['/actions/', '/Actions', '//actions', '/actions/runs/', '/actions/../actions%2f'])('%s is not /actions', async (path) => {
    const answer = await send(`GET ${path} HTTP/1.1\r\nHost: a\r\n${auth}${closing}\r\n`)
    expect([400, 404]).toContain(answer.status)
    expect(gateway.actions.asked).toEqual([])
  })
})

describe('a client that goes', () => {
  test('ends the call that is made for it', async () => {
    const left = new Promise<number>((resolve) => {
      gateway.actions.handlers.listActions = (_request, call) =>
        new Promise((_resolve, reject) =>
          call.signal.addEventListener('abort', () => {
            // A call that nobody ends is ended by its deadline.
            resolve(call.deadline - Date.now())
            reject(new Error('gone'))
          }),
        )
    })
    const socket = connect(gateway.port, '127.0.0.1')
    socket.write(`GET /actions HTTP/1.1\r\nHost: a\r\n${auth}\r\n`)
    await expect.poll(() => gateway.actions.asked.length).toBe(1)
    socket.destroy()
    expect(await left).toBeGreaterThan(1000)
    await expect.poll(() => gateway.logged.some((line) => line.status_code === 499)).toBe(true)
  })
})

describe('draining', () => {
  test('finishes what is under way, takes nothing new, and keeps no connection', async () => {
    const other = await startGateway()
    let finish: (() => void) | undefined
    const usual = other.actions.handlers.listActions
    other.actions.handlers.listActions = async (request, call) => {
      await new Promise<void>((resolve) => (finish = resolve))
      return usual(request, call)
    }
    const slow = other.call('/actions')
    await expect.poll(() => finish).toBeDefined()
    const drained = drain(other.app, 10_000)
    await expect
      .poll(() =>
        fetch(`${other.url}/healthz`).then(
          () => 'answered',
          () => 'refused',
        ),
      )
      .toBe('refused')
    finish!()
    expect((await slow).status).toBe(200)
    expect(await drained).toBe(true)
    await other.stop()
  })

  test('cuts what takes longer than it may, and says so', async () => {
    const other = await startGateway()
    other.actions.handlers.listActions = () => new Promise(() => undefined)
    const stuck = other.call('/actions').catch(() => 'cut')
    await expect.poll(() => other.actions.asked.length).toBe(1)
    expect(await drain(other.app, 50)).toBe(false)
    expect(await stuck).toBe('cut')
    await other.stop()
  })
})
