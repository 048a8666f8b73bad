/**
 * Answers to requests whose body nobody will read. The answer is sent at once; the body is read and thrown away when its turn comes, a few
 * at a time: of hundreds that arrive together Node would read as much as it can of each before it looks at anything else.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { maxBodyBytes } from './plugins/rate-limit.ts'

/** In bytes: what is smaller is thrown away at once. */
const smallBytes = 64 * 1024
/** How many bodies are read at a time, and how long one may take of it, in milliseconds. */
const maxAtATime = 2
const turnMs = 2000

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[]>>
  readonly body: string
}

export class UnreadBodies {
  #reading = 0
  readonly #waiting: (() => void)[] = []

  /** Whether the rest of the request is so much that it must wait for its turn. */
  isLarge({ headers, readableEnded, readableDidRead }: IncomingMessage): boolean {
    if (readableEnded || readableDidRead) return false
    const length = Number(headers['content-length'] ?? 0)
    // What no body may be is cut, not read.
    return headers['transfer-encoding'] !== undefined || (length > smallBytes && length <= maxBodyBytes)
  }

  /** Sends the whole answer, and ends it when the request has been thrown away; cuts a client that takes too long to send the rest. */
  answer(request: IncomingMessage, response: ServerResponse, { status, headers, body }: Answer): void {
    response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) })
    response.write(body)
    // Until its turn it stays where it is: in the client, or in the kernel.
    request.socket.pause()
    const go = () => {
      this.#reading += 1
      let isOver = false
      const over = () => {
        if (isOver) return
        isOver = true
        clearTimeout(late)
        this.#reading -= 1
        response.end()
        this.#next()
      }
      const late = setTimeout(() => request.socket.destroy(), turnMs)
      request.socket.resume()
      request.once('end', over).once('close', over).once('error', () => undefined).resume()
      if (request.destroyed || response.destroyed) over()
    }
    this.#waiting.push(go)
    this.#next()
  }

  #next(): void {
    // One after the other, with room for everything else between them.
    if (this.#reading < maxAtATime && this.#waiting.length > 0) setImmediate(() => this.#reading < maxAtATime && this.#waiting.shift()?.())
  }
}
