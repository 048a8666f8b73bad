/** A small HTTP server that accepts every webhook and shows what it received: the target of the printed example. */
import { createServer } from 'node:http'
import { freePort } from './state/state-dir.ts'

export interface Delivery {
  method: string
  path: string
  headers: Record<string, string | string[] | undefined>
  body: string
  at: string
}

export interface Receiver {
  readonly url: string
  stop(): Promise<void>
}

const bodyLimit = 1 << 20

/** Listens on the wanted port of the loopback address if it is free, or on any other. */
export async function startReceiver(wanted: number | undefined, onDelivery: (delivery: Delivery) => void): Promise<Receiver> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    let size = 0
    request.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size <= bodyLimit) chunks.push(chunk)
    })
    request.on('error', () => response.destroy())
    request.on('end', () => {
      if (size > bodyLimit) {
        response.writeHead(413).end('Too large')
        return
      }
      onDelivery({
        method: request.method ?? '',
        path: request.url ?? '',
        headers: request.headers,
        body: Buffer.concat(chunks).toString('utf8'),
        at: new Date().toISOString(),
      })
      response.writeHead(200, { 'content-type': 'text/plain' }).end('OK')
    })
  })
  server.requestTimeout = 10_000
  const port = await freePort(wanted)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  return {
    url: `http://127.0.0.1:${port}`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
