/**
 * Answers to requests whose body nobody will read. The answer is sent at once; the body is read and thrown away when its turn comes, a few
 * at a time: of hundreds that arrive together Node would read as much as it can of each before it looks at anything else. Who waits is held
 * no longer than its connection is open, and all together are bounded in number and in time.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { maxBodyBytes } from './plugins/rate-limit.ts'

/** In bytes: what is smaller is thrown away at once. */
const smallBytes = 64 * 1024

export interface PendingResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[]>>
  readonly body: string
}

export interface UnreadLimits {
  /** How many bodies are read at a time, and how long one may take of it, in milliseconds. */
  atATime: number
  turnMs: number
  /** How many connections may wait for their turn, and how long, in milliseconds. */
  waiting: number
  waitMs: number
}

const defaults: UnreadLimits = { atATime: 2, turnMs: 2000, waiting: 1000, waitMs: 30_000 }

/** A connection that waits for its turn. */
interface Waiting {
  since: number
  /** Begins to read. */
  go(): void
}

export class UnreadBodies {
  readonly #limits: UnreadLimits
  #reading = 0
  /** In order of arrival. */
  readonly #waiting = new Map<Socket, Waiting>()
  /** One for all: it waits for the first. */
  #late: NodeJS.Timeout | undefined

  constructor(limits: Partial<UnreadLimits> = {}) {
    this.#limits = { ...defaults, ...limits }
  }

  /** How many wait for their turn. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** Whether the rest of the request is so much that it must wait for its turn. */
  isLarge({ headers, readableEnded, readableDidRead }: IncomingMessage): boolean {
    if (readableEnded || readableDidRead) return false
    const length = Number(headers['content-length'] ?? 0)
    // What no body may be is cut, not read.
    return headers['transfer-encoding'] !== undefined || (length > smallBytes && length <= maxBodyBytes)
  }

  /**
   * Sends the whole answer, and ends it when the request has been thrown away; cuts a client that takes too long to send the rest, and one for
   * whom there is no place to wait.
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
    // Until its turn it stays where it is: in the client, or in the kernel.
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
    this.#reading += 1
    let isOver = false
    const over = () => {
      if (isOver) return
      isOver = true
      clearTimeout(late)
      socket.off('close', over)
      this.#reading -= 1
      response.end()
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
    // One after the other, with room for everything else between them.
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
