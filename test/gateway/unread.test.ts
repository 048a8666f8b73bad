import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
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
    const answers = text.split(/(?=HTTP\/1\.1 )/)
    expect(answers.map((answer) => parseRaw(answer).status)).toEqual([401, 200])
  })

  test('of hundreds at once is answered to each, and others are served meanwhile', { timeout: 60_000 }, async () => {
    const refused = Promise.all(
      Array.from({ length: 200 }, async () => {
        const response = await fetch(`${gateway.url}/actions/preview`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
        await response.text()
        return response.status
      }),
    )
    for (let index = 0; index < 5; index += 1) expect((await gateway.call('/actions')).status).toBe(200)
    expect(new Set(await refused)).toEqual(new Set([401]))
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
