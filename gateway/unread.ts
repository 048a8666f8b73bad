/**
 * Responses to requests whose body is not needed. The response is sent at once. The body is read and discarded later, a few at a time: of
 * hundreds that arrive together, Node would read as much as possible of each before it did anything else. A waiting response is held while
 * its connection is open, and the number and the time of all are limited.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { BufferGarbage } from './buffer-garbage.ts'
import { maxBodyBytes } from './plugins/rate-limit.ts'

/** In bytes: a smaller body is discarded at once. */
const smallBytes = 64 * 1024

export interface PendingResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[]>>
  readonly body: string
}

export interface UnreadLimits {
  /** How many bodies are read at a time, and the maximum time for each, in milliseconds. */
  atATime: number
  turnMs: number
  /** How many connections may wait for their turn, and how long, in milliseconds. */
  waiting: number
  waitMs: number
}

const defaults: UnreadLimits = { atATime: 2, turnMs: 2000, waiting: 1000, waitMs: 30_000 }

/** A connection that waits for its turn. */
interface QueuedBody {
  since: number
  /** Begins to read. */
  go(): void
}

export class UnreadBodies {
  readonly #limits: UnreadLimits
  readonly #garbage = new BufferGarbage()
  #reading = 0
  /** In order of arrival. */
  readonly #waiting = new Map<Socket, QueuedBody>()
  /** One timer for all: it waits for the first. */
  #late: NodeJS.Timeout | undefined

  constructor(limits: Partial<UnreadLimits> = {}) {
    this.#limits = { ...defaults, ...limits }
  }

  /** How many connections wait for their turn. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** Whether the rest of the request is so large that it must wait for its turn. */
  isLarge({ headers, readableEnded, readableDidRead }: IncomingMessage): boolean {
    if (readableEnded || readableDidRead) return false
    const length = Number(headers['content-length'] ?? 0)
    // A body above the limit is cut, not read.
    return headers['transfer-encoding'] !== undefined || (length > smallBytes && length <= maxBodyBytes)
  }

  /**
   * Sends the whole response, and ends it when the request has been discarded. Cuts a client that takes too long to send the rest, and one
   * that finds the queue full.
   */
  answer(request: IncomingMessage, response: ServerResponse, { status, headers, body }: PendingResponse): void {
    const { socket } = request
    if (socket.destroyed) return
    response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) })
    response.write(body)
    if (this.#waiting.size >= this.#limits.waiting) {
      response.end()
      socket.destroySoon()
      return
    }
    // Until its turn, the body stays in the client or in the kernel.
    socket.pause()
    const gone = () => this.#waiting.delete(socket)
    socket.once('close', gone)
    const go = () => {
      socket.off('close', gone)
      this.#read(request, response)
    }
    this.#waiting.set(socket, { since: performance.now(), go })
    this.#next()
    this.#watch()
  }

  #read(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request
    const before = socket.bytesRead
    this.#reading += 1
    let isOver = false
    const over = () => {
      if (isOver) return
      isOver = true
      clearTimeout(late)
      socket.off('close', over)
      this.#reading -= 1
      response.end()
      this.#garbage.add(socket.bytesRead - before)
      this.#next()
    }
    const late = setTimeout(() => socket.destroy(), this.#limits.turnMs)
    socket.once('close', over).resume()
    request
      .once('end', over)
      .once('close', over)
      .once('error', () => undefined)
      .resume()
    if (request.destroyed || response.destroyed || socket.destroyed) over()
  }

  #next(): void {
    if (!this.#hasTurn()) return
    // One at a time, so that other events are handled in between.
    setImmediate(() => {
      const [first] = this.#waiting
      if (first === undefined || !this.#hasTurn()) return
      this.#waiting.delete(first[0])
      first[1].go()
    })
  }

  #hasTurn = (): boolean => this.#reading < this.#limits.atATime && this.#waiting.size > 0

  #watch(): void {
    const [first] = this.#waiting
    if (first === undefined || this.#late !== undefined) return
    const now = performance.now()
    this.#late = setTimeout(
      () => {
        this.#late = undefined
        const before = performance.now() - this.#limits.waitMs
        for (const [socket, { since }] of this.#waiting) {
          if (since > before) break
          socket.destroy()
        }
        this.#watch()
      },
      Math.max(100, first[1].since + this.#limits.waitMs - now),
    ).unref()
  }
}
