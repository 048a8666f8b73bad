/** What a provider's server may put around its answer, and what that comes to. */
import { gzipSync } from 'node:zlib'
import { afterEach, expect, test } from 'vitest'
import type { LookupOptions } from '#mesh/outgoing/resolver.ts'
import { ProviderConnections, boundedFetch } from '../../../../services/oauth/providers/provider-fetch.ts'
import { type RawServer, startRawServer } from '../../../fakes/raw-server.ts'

const open: RawServer[] = []
afterEach(async () => {
  for (const each of open.splice(0)) await each.close()
})

const json = '{"access_token":"t"}'
const final = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${json.length}\r\n\r\n${json}`

async function openHarness(response: Parameters<typeof startRawServer>[0], connections = new ProviderConnections()) {
  const server = await startRawServer(response)
  open.push(server)
  const url = `${server.url}/token`
  const ask = boundedFetch({ provider: 'example', allowHttp: true, endpoints: [url], requestMs: 20_000, connections })
  return {
    server,
    url,
    ask: () => ask(url, { method: 'POST', headers: { accept: 'application/json' }, body: new URLSearchParams({ code: 'c&d' }) }),
  }
}

test('a request is a form, asks for no encoding, and its connection is used again', async () => {
  const { server, ask } = await openHarness(() => [final])
  expect(await (await ask()).json()).toEqual({ access_token: 't' })
  await new Promise(setImmediate)
  await ask()
  expect(server.connections).toBe(1)
  expect(server.requests[0]).toMatch(/^POST \/token HTTP\/1\.1\r\n/)
  expect(server.requests[0]).toMatch(/content-type: application\/x-www-form-urlencoded/i)
  expect(server.requests[0]).toMatch(/accept-encoding: identity/i)
  expect(server.requests[0]).toMatch(/\r\n\r\ncode=c%26d$/)
})

test('interim responses are skipped, so that no granted code or refreshed token is lost for one', async () => {
  const { ask } = await openHarness(() => ['HTTP/1.1 100 Continue\r\n\r\n', 'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n', final])
  expect(await (await ask()).json()).toEqual({ access_token: 't' })
})

test('an answer that is encoded all the same is decoded, and one that decodes to too much is unreadable', async () => {
  const encoded = (bytes: Buffer) => [`HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: ${bytes.length}\r\n\r\n`, bytes]
  const { ask } = await openHarness((index) => encoded(gzipSync(index === 0 ? json : Buffer.alloc(50_000_000))))
  expect(await (await ask()).json()).toEqual({ access_token: 't' })
  await expect(ask()).rejects.toMatchObject({ failure: { kind: 'unreadable' } })
})

test('headers that are too large are unreadable, half an answer is none', async () => {
  const { ask } = await openHarness((index) => [index === 0 ? `HTTP/1.1 200 OK\r\nx: ${'a'.repeat(20_000)}\r\n\r\n` : final.slice(0, -3)])
  await expect(ask()).rejects.toMatchObject({ failure: { kind: 'unreadable' } })
  await expect(ask()).rejects.toMatchObject({ failure: { kind: 'unreachable' } })
})

test('a name that cannot be found out ends with the request, and is looked for no longer', async () => {
  let asked: LookupOptions | undefined
  const silent = new ProviderConnections((_name, options) => {
    asked = options
    return new Promise((_resolve, reject) => options.signal.addEventListener('abort', () => reject(options.signal.reason as Error)))
  })
  const url = 'http://localhost:1/token'
  const ask = boundedFetch({ provider: 'example', allowHttp: true, endpoints: [url], requestMs: 50, connections: silent })
  await expect(ask(url, { method: 'GET', headers: {} })).rejects.toMatchObject({ failure: { kind: 'unreachable' } })
  expect(asked?.signal.aborted).toBe(true)
})
