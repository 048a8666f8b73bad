/**
 * Requests and responses (HTTP/1.1) on an open connection, one after the other. Nothing is repeated, no redirect is followed, interim
 * responses are skipped, and a response is limited in its headers and its body.
 */
import type net from 'node:net'
import { Client } from 'undici'
import type { Dispatcher } from 'undici'
import { type Body, readBody } from './content-coding.ts'
import { FinalResponses, maxInterimBytes } from './interim.ts'

export interface ExchangeRequest {
  method: Dispatcher.HttpMethod
  /** With its query. */
  path: string
  headers: Readonly<Record<string, string>>
  /** The exact bytes; none for a request without a body. */
  body?: Uint8Array | string | undefined
  /** Aborts it at any point. */
  signal: AbortSignal
  /** Maximum bytes of the response's body that are read, and kept when decoded. */
  maxBytes: number
  /** The connection is not used again. */
  last?: boolean
  /** Called with the status as soon as it is read. */
  onStatus?: (status: number) => void
}

export interface ExchangeResponse extends Body {
  status: number
  headers: Readonly<Record<string, string | string[] | undefined>>
}

/** The headers of one response. */
export const maxHeaderBytes = 16 * 1024

/** How long an unused connection is kept, in milliseconds: far shorter than the other side keeps it. */
export const idleMs = 4_000

/** Why there is no status. The request may have arrived. */
export class ExchangeError extends Error {
  override readonly name = 'ExchangeError'
  /** `lost`: no response, or not one of HTTP; `headers too large`: not read to the end; `stopped` by the signal. */
  readonly kind: 'lost' | 'headers too large' | 'stopped'

  constructor(kind: ExchangeError['kind'], cause: unknown) {
    super(kind, { cause })
    this.kind = kind
  }
}

/** The sentence for headers that are too large. */
export const headerLimits = `headers of more than ${maxHeaderBytes / 1024} KiB, or interim responses of more than ${maxInterimBytes / 1024} KiB`

export class HttpConnection {
  readonly #client: Client
  readonly #stream: FinalResponses
  /** Whether a response was not read completely: the next bytes on this connection would be the rest of it. */
  #inside = false

  constructor(socket: net.Socket, origin: string) {
    const stream = new FinalResponses(socket)
    stream.on('error', () => undefined)
    let used = false
    this.#stream = stream
    this.#client = new Client(origin, {
      // undici repeats a request whose socket closed before it was written to: this one has one connection and no other.
      connect: (_options, done) => {
        const first = !used
        used = true
        // Later, because undici forgets a request whose connection is there at once. A stream serves it like a socket.
        queueMicrotask(() => (first ? done(null, stream as unknown as net.Socket) : done(new Error('The connection is used up.'), null)))
      },
      maxHeaderSize: maxHeaderBytes,
      allowH2: false,
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: idleMs,
      keepAliveMaxTimeout: idleMs,
    })
  }

  /** Whether it can be used for a request. */
  get open(): boolean {
    return !this.#inside && !this.#stream.destroyed && !this.#stream.readableEnded
  }

  /** Throws ExchangeError only while the status is unknown. */
  async request({ method, path, headers, body, signal, maxBytes, last = false, onStatus }: ExchangeRequest): Promise<ExchangeResponse> {
    let response: Dispatcher.ResponseData
    this.#inside = true
    try {
      this.#stream.expectResponse()
      const sent = typeof body === 'string' ? Buffer.from(body) : body
      response = await this.#client.request({
        method,
        path,
        headers: { 'accept-encoding': 'identity', ...headers },
        body: sent === undefined || sent.length === 0 ? null : sent,
        reset: last,
        signal,
      })
    } catch (error) {
      throw new ExchangeError(signal.aborted ? 'stopped' : overflowed(error) ? 'headers too large' : 'lost', error)
    }
    onStatus?.(response.statusCode)
    const { statusCode: status, headers: answered } = response
    const encoding = answered['content-encoding'] ?? ''
    const read = await readBody(response.body, Array.isArray(encoding) ? encoding.join(',') : encoding, maxBytes)
    this.#inside = last || !read.complete
    return { status, headers: answered, ...read }
  }

  close(): Promise<void> {
    return this.#client.destroy()
  }
}

const overflowed = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'UND_ERR_HEADERS_OVERFLOW' || error.code === 'INTERIM_OVERFLOW')
