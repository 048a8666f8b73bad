import { type Socket, connect } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { type TestGateway, startGateway } from './gateway.ts'

let gateway: TestGateway
const sockets: Socket[] = []
afterEach(async () => {
  sockets.splice(0).forEach((each) => each.destroy())
  await gateway.stop()
})

interface Client {
  socket: Socket
  closed: boolean
}

function open(text = '', from = '127.0.0.1'): Client {
  const client: Client = { socket: connect({ port: gateway.port, host: '127.0.0.1', localAddress: from }), closed: false }
  sockets.push(client.socket)
  client.socket.on('error', () => undefined).on('close', () => (client.closed = true))
  if (text !== '') client.socket.write(text)
  return client
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`
const connections = async () => Number(/^gateway_connections\{\S* (\d+)/m.exec((await gateway.metrics.scrape(undefined)).body)?.[1])
const closedFor = async (reason: string) =>
  Number(
    new RegExp(`^gateway_connections_closed_total\\{[^}]*reason="${reason}"[^}]*\\} (\\d+)`, 'm').exec(
      (await gateway.metrics.scrape(undefined)).body,
    )?.[1],
  )
const patience = { timeout: 40_000 }
/** Of these more than any kernel keeps for a connection. */
const requests = 100

describe('a client that does not read', { timeout: 90_000 }, () => {
  test.each(['/docs', '/openapi.json'])('what it asked of %s is cut after a time, and one that reads is served', async (path) => {
    gateway = await startGateway({ SEND_STALL_TIMEOUT: '1s' })
    const idle = Array.from({ length: 5 }, () => {
      const { socket } = open()
      socket.pause().write(get(path).repeat(requests))
      return socket
    })
    // What it sends meanwhile is no progress.
    const chatter = setInterval(() => idle.forEach((each) => each.writable && each.write(get(path))), 100)
    try {
      await expect.poll(() => closedFor('stalled'), patience).toBe(5)
    } finally {
      clearInterval(chatter)
    }
    // A socket is counted as closed before its event.
    await expect.poll(connections).toBe(0)
    expect((await fetch(gateway.url + path)).status).toBe(200)
  })

  test('is left alone while it reads slowly, and while nothing waits for it', async () => {
    gateway = await startGateway({ SEND_STALL_TIMEOUT: '1s' })
    const quiet = open(get('/version'))
    const slow = open()
    let received = 0
    slow.socket.on('data', (chunk: Buffer) => {
      received += chunk.length
      slow.socket.pause()
    })
    slow.socket.write(get('/docs').repeat(requests))
    const reading = setInterval(() => slow.socket.resume(), 5)
    const begun = performance.now()
    await expect.poll(() => performance.now() - begun, patience).toBeGreaterThan(4000)
    clearInterval(reading)
    expect(received).toBeGreaterThan(1_000_000)
    expect([slow.closed, quiet.closed]).toEqual([false, false])
    expect(await closedFor('stalled')).toBe(0)
  })
})

describe('the connections of one address', () => {
  test('are limited: more are closed at once, those of others are not, and one that ends makes room', async () => {
    gateway = await startGateway({ MAX_CONNECTIONS_PER_ADDRESS: '3' })
    const three = [open(), open(), open()]
    await expect.poll(connections).toBe(3)
    const more = open()
    await expect.poll(() => more.closed).toBe(true)
    expect(await closedFor('address')).toBe(1)
    const other = open(get('/version'), '127.0.0.2')
    await expect.poll(connections).toBe(4)
    three[0]!.socket.destroy()
    await expect.poll(connections).toBe(3)
    expect((await fetch(`${gateway.url}/version`)).status).toBe(200)
    expect([three[1]!.closed, three[2]!.closed, other.closed]).toEqual([false, false, false])
  })

  test.each([
    ['a trusted proxy has', { TRUSTED_PROXIES: '127.0.0.0/8' }],
    ['a trusted proxy by its name has', { TRUSTED_PROXIES: 'loopback' }],
    ['by configuration nobody has', { MAX_CONNECTIONS_PER_ADDRESS: '0' }],
  ])('%s no limit', async (_who, env) => {
    gateway = await startGateway({ MAX_CONNECTIONS_PER_ADDRESS: '3', ...env })
    Array.from({ length: 6 }, () => open())
    await expect.poll(connections).toBe(6)
    expect((await fetch(`${gateway.url}/version`)).status).toBe(200)
  })
})
