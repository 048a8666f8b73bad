/** A server below HTTP: it reads one request at a time, and writes the very bytes that it is told to. */
import { once } from 'node:events'
import net from 'node:net'
import type { AddressInfo } from 'node:net'

export interface RawServer {
  readonly url: string
  /** The requests, as text. */
  readonly requests: readonly string[]
  readonly connections: number
  close(): Promise<void>
}

/** Answers the nth request with each of these pieces, one after the other: in packets of their own. */
export async function startRawServer(response: (index: number) => readonly (string | Buffer)[]): Promise<RawServer> {
  const requests: string[] = []
  const sockets = new Set<net.Socket>()
  let connections = 0
  const server = net.createServer({ noDelay: true }, (socket) => {
    connections += 1
    sockets.add(socket.on('error', () => undefined))
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      const end = text.indexOf('\r\n\r\n')
      const length = Number(/content-length: *(\d+)/i.exec(text)?.[1] ?? 0)
      if (end < 0 || text.length < end + 4 + length) return
      requests.push(text)
      text = ''
      const write = async () => {
        for (const piece of response(requests.length - 1)) {
          if (socket.destroyed) return
          socket.write(piece)
          await new Promise(setImmediate)
        }
      }
      void write()
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    get connections() {
      return connections
    },
    close: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise((done) => server.close(done))
    },
  }
}
