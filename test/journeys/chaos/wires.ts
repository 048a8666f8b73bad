/** The wires of a mesh: a proxy on each way from a process to what it calls, so that any of them can be cut, stalled or slowed alone. */
import { type TcpProxy, tcpProxy, through } from '../../fakes/tcp-proxy.ts'

interface Wire {
  /** The process that calls. */
  from: string
  /** `postgres`, `redis`, or the address of a process as host:port. */
  to: string
  proxy: TcpProxy
}

const databases = ['DATABASE_URL', 'MIGRATION_DATABASE_URL', 'AUDIT_RETENTION_DATABASE_URL']
const peers = ['ACCESS_ADDR', 'IDEMPOTENCY_ADDR', 'OAUTH_ADDR', 'UPSTREAMS']

export class Wires {
  readonly #wires: Wire[] = []

  /** For `startMesh`: the same environment by way of proxies. */
  readonly adjustEnv = async (process: string, env: Readonly<Record<string, string>>): Promise<Record<string, string>> => {
    const adjusted = { ...env }
    for (const name of databases) {
      if (adjusted[name]) adjusted[name] = await this.#redirected(process, 'postgres', adjusted[name])
    }
    if (adjusted.REDIS_URL) adjusted.REDIS_URL = await this.#redirected(process, 'redis', adjusted.REDIS_URL)
    for (const name of peers) {
      for (const address of adjusted[name]?.match(/127\.0\.0\.1:\d+/g) ?? []) {
        const { port } = await this.#wire(process, address, Number(address.split(':')[1]))
        adjusted[name] = adjusted[name]!.replace(new RegExp(`${address}(?!\\d)`), `127.0.0.1:${port}`)
      }
    }
    return adjusted
  }

  /** Of one process, or of all, to Postgres or Redis. */
  to(store: 'postgres' | 'redis', from?: string): TcpProxy[] {
    return this.#wires.filter((wire) => wire.to === store && (from ?? wire.from) === wire.from).map(({ proxy }) => proxy)
  }

  /** Everything that goes out of a process and into it. */
  around(process: string, address: string): TcpProxy[] {
    return this.#wires.filter(({ from, to }) => from === process || to === address).map(({ proxy }) => proxy)
  }

  /** Passes everything on again; what was stalled is not cut. */
  resume(): void {
    for (const { proxy } of this.#wires) proxy.resume()
  }

  async close(): Promise<void> {
    await Promise.all(this.#wires.map(({ proxy }) => proxy.close()))
  }

  async #redirected(from: string, to: string, url: string): Promise<string> {
    return through(await this.#wire(from, to, Number(new URL(url).port)), url)
  }

  async #wire(from: string, to: string, port: number): Promise<TcpProxy> {
    const proxy = await tcpProxy({ host: '127.0.0.1', port })
    this.#wires.push({ from, to, proxy })
    return proxy
  }
}
