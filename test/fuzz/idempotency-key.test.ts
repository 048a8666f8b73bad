import { request as httpRequest } from 'node:http'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { ExecuteActionRequest } from '#gen/relay/actions/v1/actions.ts'
import { type TestGateway, apiKey, startGateway } from '../gateway/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.stop())
beforeEach(() => void (gateway.actions.asked.length = 0))

/** Executes with header values as they are, which fetch would not send. */
function execute(...keys: string[]): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const headers = [
      'Host',
      'relay',
      'Authorization',
      `Bearer ${apiKey}`,
      'Content-Type',
      'application/json',
      ...keys.flatMap((key) => ['Idempotency-Key', key]),
    ]
    const request = httpRequest(
      { port: gateway.port, host: '127.0.0.1', path: '/actions/execute', method: 'POST', headers: [...headers, 'Content-Length', '18'] },
      (response) => {
        let body = ''
        response
          .setEncoding('utf8')
          .on('data', (chunk: string) => (body += chunk))
          .on('end', () => resolve({ status: response.statusCode!, body }))
      },
    )
    request.on('error', reject).end('{"preview_id":"p"}')
  })
}

const arrived = () => gateway.actions.asked.map(({ request }) => (request as ExecuteActionRequest).idempotencyKey)

const printable = fc.string({
  unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
  minLength: 1,
  maxLength: 255,
})

describe('an Idempotency-Key', () => {
  test('of 1 to 255 printable characters reaches the service as it was sent, but for blanks around it', async () => {
    await fc.assert(
      fc.asyncProperty(
        printable.filter((key) => key.trim() !== ''),
        async (key) => {
          gateway.actions.asked.length = 0
          expect((await execute(key)).status).toBe(200)
          expect(arrived()).toEqual([key.trim()])
        },
      ),
    )
  })

  test('of anything else is refused by name and reaches nobody', async () => {
    const latin1 = fc.string({
      unit: fc.integer({ min: 0x80, max: 0xff }).map((code) => String.fromCharCode(code)),
      minLength: 1,
      maxLength: 20,
    })
    const tab = fc.tuple(fc.constantFrom('a', ''), printable).map(([before, after]) => `x${before}\t${after.trim()}y`)
    const long = fc.string({ unit: fc.constantFrom('k', '-', '9'), minLength: 256, maxLength: 600 })
    await fc.assert(
      fc.asyncProperty(fc.oneof(latin1, tab, long, fc.constantFrom('', ' ', '  \t ')), async (key) => {
        const { status, body } = await execute(key)
        expect(status).toBe(400)
        expect(JSON.parse(body)).toMatchObject({ reason: 'INVALID_REQUEST', violations: [{ field: 'Idempotency-Key' }] })
        expect(arrived()).toEqual([])
      }),
    )
  })

  test('sent twice is refused, whatever the two are', async () => {
    await fc.assert(
      fc.asyncProperty(printable, printable, async (one, other) => {
        const { status, body } = await execute(one, other)
        expect(status).toBe(400)
        expect(body).toContain('idempotency-key')
        expect(arrived()).toEqual([])
      }),
      { numRuns: 50 },
    )
  })

  test('may be left out', async () => {
    expect((await execute()).status).toBe(200)
    expect(arrived()).toEqual([undefined])
  })
})
