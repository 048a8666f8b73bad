/** What a receiver answers in an encoding, and what of its text is stored and shown. */
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { receive, send } from '../webhook-harness.ts'

test('a request accepts no encoding', async () => {
  const receiver = await receive()
  await send({ url: receiver.url })
  expect(receiver.deliveries[0]!.headers['accept-encoding']).toBe('identity')
})

test.each([
  ['gzip', gzipSync],
  ['X-GZIP', gzipSync],
  ['deflate', deflateSync],
  ['deflate', deflateRawSync],
  ['br', brotliCompressSync],
])('what is encoded as %s all the same is shown as what it says, and a bomb only up to the limit', async (coding, encode) => {
  const bodies = [
    encode(Buffer.from('done ✓')),
    encode(Buffer.alloc(20_000_000, 'a')),
    encode(Buffer.from('x'.repeat(1000))).subarray(0, -2),
  ]
  const receiver = await receive({ respond: (_, index) => ({ headers: { 'content-encoding': coding }, body: bodies[index]! }) })
  expect((await send({ url: receiver.url })).result).toEqual({ status_code: 200, response: 'done ✓' })
  const bomb = (await send({ url: receiver.url })).result!
  expect(bomb).toEqual({ status_code: 200, response: 'a'.repeat(65_536), response_truncated: true })
  expect((await send({ url: receiver.url })).result).toMatchObject({ status_code: 200, response: expect.stringMatching(/^x*$/) })
})

test.each(['zstd', 'gzip, br', 'made\u0085up'])('of a response encoded as %j only the encoding is shown', async (coding) => {
  const receiver = await receive({ respond: () => ({ headers: { 'content-encoding': coding }, body: Buffer.from([1, 2, 3]) }) })
  const { result } = await send({ url: receiver.url })
  expect(result).toMatchObject({ status_code: 200, response: '', response_truncated: true })
  expect(result!['response_encoding']).toMatch(/^[^\p{Cc}]+$/u)
})

test('no control character is stored or shown, except tabs and line ends', async () => {
  const all = Array.from({ length: 0xa0 }, (_, code) => String.fromCharCode(code)).join('')
  const receiver = await receive({ respond: () => ({ status: 500, body: `${all}\r\nnext\u202eline` }) })
  const outcome = await send({ url: receiver.url })
  expect(outcome.result!['response']).toMatch(/^(?:[^\p{Cc}\u202e]|[\t\n]|\r\n)*$/u)
  expect(outcome).toMatchObject({ error: { message: expect.not.stringMatching(/(?![\t\n\r])\p{Cc}/u) } })
  expect(outcome.result!['response']).toContain('\uFFFD\r\nnext\uFFFDline')
})
