/** Whatever a client sends, by whatever method and under whatever type, it is never told that the gateway failed. */
import { METHODS } from 'node:http'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type TestGateway, apiKey, parseRaw, startGateway } from './gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.stop())

const paths = [
  '/actions',
  '/actions/preview',
  '/actions/execute',
  '/actions/runs',
  '/actions/runs/x',
  '/ready',
  '/docs',
  '/',
  '/nothing',
  '*',
]
/** Of these the parser itself makes something else of the connection. */
const methods = METHODS.filter((method) => method !== 'CONNECT')
const types = [
  undefined,
  '',
  'undefined',
  ';',
  'application',
  'application/json',
  'application/json;',
  'application/json; charset=utf8',
  'application/json; charset=latin1',
  'text/plain',
  'multipart/form-data; boundary=x',
  'application/json, text/plain',
  '/',
  'a/b;c',
  '\u00ff/json',
]
const bodies = [undefined, '', '{}', '{"action":"a"}', '[]', 'null', '"', '{', '\0', 'a=b', '{"action":1}', '\u00ff\u00fe']
const lengths = ['right', 'none', 'chunked'] as const

async function send(request: {
  method: string
  path: string
  type: string | undefined
  body: string | undefined
  length: (typeof lengths)[number]
}) {
  const { method, path, type, body, length } = request
  const head = [`${method} ${path} HTTP/1.1`, 'Host: a', `Authorization: Bearer ${apiKey}`, 'Connection: close']
  if (type !== undefined) head.push(`Content-Type: ${type}`)
  const bytes = Buffer.from(body ?? '', 'latin1')
  const chunked = length === 'chunked' && body !== undefined
  if (chunked) head.push('Transfer-Encoding: chunked')
  else if (length === 'right' && body !== undefined) head.push(`Content-Length: ${bytes.length}`)
  const chunk =
    bytes.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')])
  const payload = chunked ? Buffer.concat([chunk, Buffer.from('0\r\n\r\n')]) : length === 'none' ? Buffer.alloc(0) : bytes
  return parseRaw(await gateway.raw(Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'), payload))
}

describe('QUERY', () => {
  test.each([undefined, 'application/json', ''])('is a method that the path does not take, with the type %s', async (type) => {
    const answer = await send({ method: 'QUERY', path: '/actions', type, body: '{}', length: 'right' })
    expect(answer.status).toBe(405)
    expect(answer.headers.get('allow')).toBe('GET, HEAD, OPTIONS')
    expect(JSON.parse(answer.body)).toMatchObject({ reason: 'METHOD_NOT_ALLOWED' })
  })
})

test('every method with every type is answered, and never with a failure of the gateway', async () => {
  const responses: string[] = []
  for (const method of methods) {
    const requests = types.map(async (type) => {
      const { status } = await send({ method, path: '/actions', type, body: '{}', length: 'right' })
      return { method, type, status }
    })
    for (const { type, status } of await Promise.all(requests))
      if (!(status >= 200 && status < 500)) responses.push(`${method} ${type}: ${status}`)
  }
  expect(responses).toEqual([])
})

test('whatever is sent is answered with a proper document, and never with a failure of the gateway', { timeout: 60_000 }, async () => {
  const request = fc.record({
    method: fc.constantFrom(...methods),
    path: fc.constantFrom(...paths),
    type: fc.constantFrom(...types),
    body: fc.constantFrom(...bodies),
    length: fc.constantFrom(...lengths),
  })
  await fc.assert(
    fc.asyncProperty(request, async (asked) => {
      const { status, headers, body } = await send(asked)
      expect(status === 200 || status === 204 || status === 302 || (status >= 400 && status < 500)).toBe(true)
      if (status >= 400 && asked.method !== 'HEAD') {
        expect(headers.get('content-type')).toBe('application/problem+json; charset=utf-8')
        expect(JSON.parse(body)).toMatchObject({ status, request_id: headers.get('x-request-id') })
      }
    }),
    { numRuns: process.env.RELAY_TEST_FULL === '1' ? 5000 : 400 },
  )
})

describe('what is not there', () => {
  test('counts against the address, by whatever method, and health does not', async () => {
    const limited = await startGateway({ ADDRESS_LIMIT: '4' })
    const status = async (path: string, method = 'GET') => (await fetch(limited.url + path, { method })).status
    try {
      expect([
        await status('/nothing'),
        await status('/nothing', 'POST'),
        await status('/nothing', 'OPTIONS'),
        await status('/actions', 'PUT'),
      ]).toEqual([404, 404, 404, 405])
      expect([
        await status('/nothing'),
        await status('/nothing', 'OPTIONS'),
        await status('/actions', 'PUT'),
        await status('/docs'),
      ]).toEqual([429, 429, 429, 429])
      for (let index = 0; index < 10; index += 1) expect([await status('/ready'), await status('/healthz')]).toEqual([200, 200])
    } finally {
      await limited.stop()
    }
  })

  test('may be told to a web page that may call', async () => {
    const origin = 'https://studio.example'
    const open = await startGateway({ CORS_ORIGINS: origin, ADDRESS_LIMIT: '1' })
    try {
      for (const expected of [404, 429]) {
        const response = await fetch(`${open.url}/nothing`, { headers: { origin } })
        expect([response.status, response.headers.get('access-control-allow-origin')]).toEqual([expected, origin])
      }
    } finally {
      await open.stop()
    }
  })
})
