/**
 * A connection whose other side may send interim responses (1xx), in any number and order (RFC 9110, 15.2). They are removed from what is
 * read, so that the HTTP client sees only final responses. They are limited in bytes, because one may follow another for ever; the
 * request's own timeout limits the time.
 */
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'

/** All interim responses to one request together. */
export const maxInterimBytes = 64 * 1024

export class InterimOverflow extends Error {
  readonly code = 'INTERIM_OVERFLOW'

  constructor() {
    super(`interim responses of more than ${maxInterimBytes} bytes`)
  }
}

/** The part of a status line that tells whether it is an interim one. */
const statusAt = 'HTTP/1.1 1xx'.length
const interim = /^HTTP\/1\.\d 1\d\d/
const headEnd = /\r?\n\r?\n/

export class FinalResponses extends Duplex {
  readonly #socket: Socket
  /** `final`: the rest of a final response follows, or nothing was requested yet. */
  #reading: 'status' | 'interim head' | 'final' = 'final'
  /** Of an incomplete status line or end of headers. */
  #rest = Buffer.alloc(0)
  #skipped = 0

  constructor(socket: Socket) {
    super({ allowHalfOpen: false })
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => {
      if (!this.#take(chunk)) socket.pause()
    })
    socket.on('end', () => {
      this.push(this.#rest)
      this.push(null)
    })
    socket.on('error', (error) => this.destroy(error))
    socket.on('close', () => this.destroy())
    socket.pause()
  }

  /** Called before a request is written: the next thing that is read begins with a status line. */
  expectResponse(): void {
    this.#reading = 'status'
    this.#rest = Buffer.alloc(0)
    this.#skipped = 0
  }

  /** As for a socket: an idle one does not keep the process alive. */
  ref(): this {
    this.#socket.ref()
    return this
  }

  unref(): this {
    this.#socket.unref()
    return this
  }

  /** Whether more may follow. */
  #take(chunk: Buffer): boolean {
    let rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    this.#rest = Buffer.alloc(0)
    while (this.#reading !== 'final') {
      if (this.#reading === 'status') {
        // A parser skips line ends before a status line, and so does this.
        while (rest[0] === 0x0d || rest[0] === 0x0a) {
          rest = rest.subarray(1)
          if ((this.#skipped += 1) > maxInterimBytes) return this.#overflow()
        }
        const line = rest.toString('latin1', 0, statusAt)
        if (line.length < statusAt && 'HTTP/1.'.startsWith(line.slice(0, 7))) return this.#keep(rest)
        this.#reading = interim.test(line) ? 'interim head' : 'final'
      } else {
        const text = rest.toString('latin1')
        const end = headEnd.exec(text)
        this.#skipped += end === null ? Math.max(0, rest.length - 3) : end.index + end[0].length
        if (this.#skipped > maxInterimBytes) return this.#overflow()
        // Its end may be cut in two.
        if (end === null) return this.#keep(rest.subarray(-3))
        rest = rest.subarray(end.index + end[0].length)
        this.#reading = 'status'
      }
    }
    return rest.length === 0 || this.push(rest)
  }

  #keep(rest: Buffer): true {
    this.#rest = Buffer.from(rest)
    return true
  }

  #overflow(): true {
    this.destroy(new InterimOverflow())
    return true
  }

  override _read(): void {
    this.#socket.resume()
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#socket.write(chunk, encoding, done)
  }

  override _writev(chunks: { chunk: Buffer; encoding: BufferEncoding }[], done: (error?: Error | null) => void): void {
    this.#socket.cork()
    for (const [index, { chunk, encoding }] of chunks.entries())
      this.#socket.write(chunk, encoding, index === chunks.length - 1 ? done : undefined)
    this.#socket.uncork()
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.end(done)
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#socket.destroy()
    done(error)
  }
}
