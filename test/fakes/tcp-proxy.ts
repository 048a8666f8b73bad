/** Stands between a client and a server on loopback and does what networks do: delays, cuts, refuses, or passes nothing on any more. */
import { once } from 'node:events'
import { type AddressInfo, type Socket, connect, createServer } from 'node:net'
import { Transform } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'

export interface TcpProxy {
  readonly port: number
  /** How many connections were ever taken. */
  readonly accepted: number
  /** From now on nothing passes either way, neither bytes nor the end of a connection: the other side seems to think forever. */
  silence(): void
  /** The connections that there are pass nothing on ever again, not even their end; new ones are passed on as usual. */
  abandon(): void
  /** Passes on what was held back, and everything from now on, without delay. */
  resume(): void
  /** Each piece of data takes this many milliseconds longer, in each direction; 0 is no delay. */
  delay(ms: number): void
  /** Cuts every connection, and each new one at once. */
  refuse(): void
  /** Passes connections on as before; cuts those that there are. */
  restore(): void
  /** Cuts every connection; new ones are taken. */
  cut(): void
  close(): Promise<void>
}

export async function tcpProxy(target: { host: string; port: number }, port = 0): Promise<TcpProxy> {
  const sockets = new Set<Socket>()
  let silence: PromiseWithResolvers<void> | undefined
  let delayMs = 0
  let generation = 0
  let refusing = false
  let accepted = 0

  const track = (socket: Socket): Socket => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
    return socket
  }
  /** Resolves when what arrived now may go on. */
  const passed = async (born: number): Promise<void> => {
    while (silence !== undefined) await silence.promise
    if (born < generation) await new Promise(() => undefined)
    if (delayMs > 0) await pause(delayMs)
  }
  const way = (born: number): Transform =>
    new Transform({
      transform(chunk: Buffer, _, done) {
        void passed(born).then(() => done(null, chunk))
      },
      flush(done) {
        void passed(born).then(() => done())
      },
    })
  const serve = async (client: Socket): Promise<void> => {
    const born = generation
    while (silence !== undefined) await silence.promise
    if (client.destroyed) return
    const upstream = track(connect(target))
    client.pipe(way(born)).pipe(upstream).pipe(way(born)).pipe(client)
    client.on('close', () => void passed(born).then(() => upstream.destroy()))
    upstream.on('close', () => void passed(born).then(() => client.destroy()))
  }
  const server = createServer((client) => {
    accepted += 1
    track(client)
    if (refusing) client.destroy()
    else void serve(client)
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const cut = () => {
    for (const socket of sockets) socket.destroy()
  }
  const resume = () => {
    refusing = false
    delayMs = 0
    silence?.resolve()
    silence = undefined
  }
  return {
    port: (server.address() as AddressInfo).port,
    get accepted() {
      return accepted
    },
    silence() {
      silence ??= Promise.withResolvers()
    },
    resume,
    abandon() {
      generation += 1
      resume()
    },
    delay(ms) {
      delayMs = ms
    },
    refuse() {
      refusing = true
      cut()
    },
    restore() {
      cut()
      resume()
    },
    cut,
    async close() {
      resume()
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
