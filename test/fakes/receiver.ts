/**
 * A real HTTP receiver on loopback that remembers what it was sent and answers as it is told to:
 *
 *   const receiver = await startReceiver({ respond: () => ({ status: 503, body: 'busy' }) })
 *   await receiver.waitForDeliveries(1)
 *   receiver.deliveries[0].body
 *   await receiver.close()
 */
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'

export interface ReceivedRequest {
  method: string
  /** As it stood in the request line. */
  url: string
  headers: http.IncomingHttpHeaders
  body: Buffer
}

export interface ReceiverResponse {
  status?: number
  headers?: Record<string, string>
  /** Text, bytes, or chunks: those may never end. */
  body?: string | Buffer | Iterable<Buffer>
  /** Cuts the connection: `before` instead of answering, `after` once status and body are written, without the end of the body. */
  drop?: 'before' | 'after'
}

export interface ReceiverOptions {
  /** Called once a request was read whole; a promise holds the answer back until it settles. 200 "OK" where it is left out. */
  respond?: (delivered: ReceivedRequest, index: number) => ReceiverResponse | Promise<ReceiverResponse>
  /** Serves https with this certificate. */
  tls?: { key: string; cert: string }
}

export interface Receiver {
  /** Without a trailing slash. */
  readonly url: string
  readonly port: number
  readonly deliveries: readonly ReceivedRequest[]
  /** How many connections were ever accepted. */
  readonly connections: number
  /** Resolves once there were this many deliveries. */
  waitForDeliveries(count: number): Promise<void>
  /** Also cuts the connections that are open. */
  close(): Promise<void>
}

export async function startReceiver({ respond = () => ({}), tls }: ReceiverOptions = {}): Promise<Receiver> {
  const deliveries: ReceivedRequest[] = []
  const waiting = new Set<() => void>()
  let connections = 0

  const handle = async (request: http.IncomingMessage, response: http.ServerResponse) => {
    const body = Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>))
    const delivered = { method: request.method!, url: request.url!, headers: request.headers, body }
    deliveries.push(delivered)
    for (const check of waiting) check()
    await answer(response, await respond(delivered, deliveries.length - 1))
  }
  const listener: http.RequestListener = (request, response) => {
    // A connection that is cut while it is read or answered is nothing to a receiver.
    handle(request, response).catch(() => response.destroy())
  }
  const server = tls === undefined ? http.createServer(listener) : https.createServer(tls, listener)
  server.on('connection', () => connections++)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo

  return {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    port,
    deliveries,
    get connections() {
      return connections
    },
    waitForDeliveries: (count) =>
      new Promise((resolve) => {
        const check = () => {
          if (deliveries.length < count) return
          waiting.delete(check)
          resolve()
        }
        waiting.add(check)
        check()
      }),
    close: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

async function answer(response: http.ServerResponse, { status = 200, headers = {}, body = 'OK', drop }: ReceiverResponse): Promise<void> {
  if (drop === 'before') return void response.destroy()
  response.writeHead(status, headers)
  const closed = new Promise((done) => response.once('close', done))
  for (const chunk of typeof body === 'string' || Buffer.isBuffer(body) ? [body] : body) {
    if (response.destroyed) return
    const written = response.write(chunk)
    // A turn of the event loop between chunks, for it is what notices that the other side is gone.
    await (written ? turn() : Promise.race([once(response, 'drain'), closed]))
  }
  if (drop === 'after') response.destroy()
  else response.end()
}
