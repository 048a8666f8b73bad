/**
 * The bytes that the streams of a gRPC server hold: received parts of requests, and parts of responses that clients have not read. They are
 * limited per connection and in total; a stream that does not fit is refused. grpc-js buffers both without a limit: HTTP/2's windows limit
 * what travels to a process, not what it keeps of a thousand streams.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream, constants } from 'node:http2'
import type { ServerUnaryCall } from '@grpc/grpc-js'
import { meshErrors } from '../errors.ts'
import { key } from '../telemetry/names.ts'
import { toStatus } from './status.ts'
import { type BudgetShare, ByteBudget, type Reservation } from '../byte-budget.ts'

const KiB = 1024
const MiB = 1024 * KiB

/**
 * In bytes. A request of 1 MiB takes about five times that while it is served. The last part of the total is reserved for small messages,
 * so that large ones do not block leases and claims. One connection may have as many large messages as a gateway, which has one connection
 * for all of its callers, admits at once (gateway/plugins/admission.ts).
 */
export const streamLimits = { total: 24 * MiB, reserved: 8 * MiB, small: 64 * KiB, connectionLarge: 14 * MiB, connectionSmall: 8 * MiB }

/** The overhead of any call beside its messages. */
const minBytes = 4 * KiB

/** The approximate time until there is space again. */
export const retryAfterMs = 1000

/** Node reports every HTTP/2 stream here, before grpc-js sees it (https://nodejs.org/api/diagnostics_channel.html#http2). */
const created = 'http2.server.stream.created'

/** grpc-js keeps the stream of a call private, and nothing else reveals when a response has been read. */
export const streamOf = (call: ServerUnaryCall<unknown, unknown>): ServerHttp2Stream =>
  (call as unknown as { call: { stream: ServerHttp2Stream } }).call.stream

/** Responds instead of grpc-js, which has not seen a complete request yet, and discards the rest. */
function refuse(stream: ServerHttp2Stream): void {
  const { code, details, metadata } = toStatus(meshErrors.OVERLOADED({ retryAfterMs }))
  metadata?.set(key.unprocessed, '1')
  const headers = { ...metadata?.toHttp2Headers(), 'grpc-status': String(code), 'grpc-message': encodeURI(details ?? '') }
  if (!stream.headersSent) stream.respond({ ':status': 200, 'content-type': 'application/grpc+proto', ...headers }, { endStream: true })
  stream.close(constants.NGHTTP2_NO_ERROR)
}

/** The bytes of one stream, until it closes. */
export class StreamBytes {
  readonly #budget: ByteBudget
  readonly #connection: string
  #held: Reservation | undefined
  #isLarge = false
  #isClosed = false

  constructor(budget: ByteBudget, connection: string) {
    this.#budget = budget
    this.#connection = connection
  }

  /** Holds so many bytes of messages instead and returns true, if they fit. Otherwise nothing changes. */
  tryHold(bytes: number): boolean {
    const size = minBytes + bytes
    const isLarge = bytes > streamLimits.small
    if (this.#isClosed) return true
    if (this.#held !== undefined && isLarge === this.#isLarge) return this.#held.tryResize(size)
    const held = this.#budget.take(this.#shares(isLarge), size)
    if (held === undefined) return false
    this.#held?.release()
    this.#held = held
    this.#isLarge = isLarge
    return true
  }

  /** The same, whether they fit or not. */
  hold(bytes: number): void {
    if (!this.tryHold(bytes)) this.#held?.resize(minBytes + bytes)
  }

  release(): void {
    this.#isClosed = true
    this.#held?.release()
  }

  #shares(isLarge: boolean): BudgetShare[] {
    const maxBytes = isLarge ? streamLimits.connectionLarge : streamLimits.connectionSmall
    return [{ name: `${isLarge ? 'large' : 'small'} ${this.#connection}`, maxBytes }]
  }
}

/** The streams of the connections that one port accepted. */
export class ServerStreams {
  readonly #budget = new ByteBudget({
    maxBytes: streamLimits.total,
    reservedBytes: streamLimits.reserved,
    smallBytes: streamLimits.small + minBytes,
  })
  readonly #connections = new WeakMap<ServerHttp2Session, string>()
  readonly #streams = new WeakMap<ServerHttp2Stream, StreamBytes>()
  readonly #onCreated = (message: unknown) => this.#begin(message as { stream: ServerHttp2Stream; headers: IncomingHttpHeaders })
  #port = 0
  #opened = 0

  /** Bytes held. */
  get total(): number {
    return this.#budget.total
  }

  follow(port: number): void {
    this.#port = port
    subscribe(created, this.#onCreated)
  }

  stop(): void {
    unsubscribe(created, this.#onCreated)
  }

  /** Undefined if the stream did not fit when it was opened. */
  of(stream: ServerHttp2Stream): StreamBytes | undefined {
    return this.#streams.get(stream)
  }

  #begin({ stream }: { stream: ServerHttp2Stream }): void {
    const { session } = stream
    if (session?.socket?.localPort !== this.#port) return
    const bytes = new StreamBytes(this.#budget, this.#nameOf(session as ServerHttp2Session))
    if (!bytes.tryHold(0)) return
    this.#streams.set(stream, bytes)
    stream.once('close', () => bytes.release())
    let received = 0
    stream.on('data', (chunk: Buffer) => {
      received += chunk.length
      if (!stream.closed && !bytes.tryHold(received)) refuse(stream)
    })
  }

  #nameOf(session: ServerHttp2Session): string {
    let name = this.#connections.get(session)
    if (name === undefined) {
      this.#opened += 1
      name = String(this.#opened)
      this.#connections.set(session, name)
    }
    return name
  }
}
