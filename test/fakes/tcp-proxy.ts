/** Stands between a client and a server on loopback and does what networks do: cuts, refuses, or passes nothing on any more. */
import { once } from 'node:events'
import { type Socket, connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'

export interface TcpProxy {
  readonly port: number
  /** How many connections were ever taken. */
  readonly accepted: number
  /** From now on nothing passes either way, and no connection is closed: the other side seems to think for ever. */
  silence(): void
  /** Connections are passed on as before; those that were silenced are cut. */
  restore(): void
  /** Cuts every connection; new ones are taken. */
  cut(): void
  close(): Promise<void>
}

export async function tcpProxy(target: { host: string; port: number }, port = 0): Promise<TcpProxy> {
  const sockets = new Set<Socket>()
  let silent = false
  let accepted = 0
  const keep = (socket: Socket): Socket => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
    return socket
  }
  const server = createServer((client) => {
    accepted += 1
    keep(client)
    if (silent) return
    const upstream = keep(connect(target))
    client.pipe(upstream).pipe(client)
    client.on('close', () => upstream.destroy())
    upstream.on('close', () => client.destroy())
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const cut = () => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    port: (server.address() as AddressInfo).port,
    get accepted() {
      return accepted
    },
    silence() {
      silent = true
      for (const socket of sockets) {
        socket.unpipe()
        socket.pause()
      }
    },
    restore() {
      silent = false
      cut()
    },
    cut,
    async close() {
      server.close()
      cut()
      await once(server, 'close')
    },
  }
}

/** The same URL by way of the proxy. */
export function through(proxy: TcpProxy, url: string): string {
  const changed = new URL(url)
  changed.hostname = '127.0.0.1'
  changed.port = String(proxy.port)
  return changed.href
}
