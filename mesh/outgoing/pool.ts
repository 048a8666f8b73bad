/** Connections to one origin that an operator has configured, each used by one request at a time and kept briefly in between. */
import { ConnectError, type Endpoint, connect, connectFailed, connectStopped, endpointOf } from './connect.ts'
import { HttpConnection, idleMs } from './exchange.ts'
import { type Lookup, NameResolver, lookupWithSpan } from './resolver.ts'

export class ConnectionPool {
  readonly #origin: string
  readonly #endpoint: Endpoint
  readonly #lookup: Lookup
  readonly #idle: { connection: HttpConnection; timer: NodeJS.Timeout }[] = []

  constructor({ origin, lookup = new NameResolver().lookup }: { origin: URL; lookup?: Lookup | undefined }) {
    this.#origin = origin.origin
    this.#endpoint = endpointOf(origin)
    this.#lookup = lookupWithSpan(lookup)
  }

  /** An open connection: a kept one, or a new one. Throws ConnectError; then nothing was sent. */
  async take(signal: AbortSignal): Promise<HttpConnection> {
    // The most recently used: it is the least likely to be closed just now.
    for (let kept = this.#idle.pop(); kept !== undefined; kept = this.#idle.pop()) {
      clearTimeout(kept.timer)
      if (kept.connection.open) return kept.connection
      void kept.connection.close()
    }
    const { host } = this.#endpoint
    const addresses = await this.#lookup(host, { tenant: '', signal }).catch((error: unknown) => {
      throw signal.aborted ? connectStopped() : error instanceof ConnectError ? error : connectFailed(error)
    })
    return new HttpConnection(await connect(this.#endpoint, addresses, signal), this.#origin)
  }

  /** Call this only after reading the response to its end. */
  give(connection: HttpConnection): void {
    if (!connection.open) return void connection.close()
    const drop = () => {
      this.#idle.splice(this.#idle.indexOf(kept), 1)
      void connection.close()
    }
    const kept = { connection, timer: setTimeout(drop, idleMs) }
    kept.timer.unref()
    this.#idle.push(kept)
  }
}
