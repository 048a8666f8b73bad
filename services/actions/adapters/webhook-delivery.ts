/** One HTTP/1.1 request on a connection that is open already, and its answer as text. Follows no redirect and repeats nothing. */
import { Client } from 'undici'
import type { Dispatcher } from 'undici'
import { tracedRequest } from '#mesh/telemetry/outgoing.ts'
import type { Connection } from '../outgoing.ts'

export interface Delivery {
  method: Dispatcher.HttpMethod
  headers: Record<string, string>
  /** The exact bytes; none for a request without a body. */
  body: Uint8Array
}

export interface Answer {
  status: number
  location: string | undefined
  /** UTF-8 with what is invalid or NUL replaced by U+FFFD, for Postgres keeps no NUL in text. */
  text: string
  /** Whether `text` is only a beginning: the limit was reached, or the connection or the time ended. */
  truncated: boolean
}

/**
 * Sends and waits for the answer; the connection is closed afterwards. It rejects only while the status is unknown, and then the request
 * may have arrived.
 */
export async function deliver(
  { target, socket }: Connection,
  { method, headers, body }: Delivery,
  { maxResponseBytes, signal }: { maxResponseBytes: number; signal: AbortSignal },
): Promise<Answer> {
  let used = false
  const client = new Client(target.url.origin, {
    // undici asks again where a socket closed before it was written to: this delivery has one connection and no other.
    connect: (_options, done) => {
      const first = !used
      used = true
      // Later, for undici forgets a request whose connection is there at once.
      queueMicrotask(() => (first ? done(null, socket) : done(new Error('The connection is used up.'), null)))
    },
    allowH2: false,
    headersTimeout: 0,
    bodyTimeout: 0,
  })
  try {
    const response = await tracedRequest('webhook', method, target.url, async (outgoing) => {
      const answer = await client.request({
        method,
        path: target.url.pathname + target.url.search,
        headers: { ...headers, ...outgoing.headers },
        body: body.length === 0 ? null : body,
        reset: true,
        signal,
      })
      outgoing.answered(answer.statusCode)
      return answer
    })
    const location = response.headers['location']
    return {
      status: response.statusCode,
      location: Array.isArray(location) ? location[0] : location,
      ...(await readText(response.body, maxResponseBytes)),
    }
  } finally {
    await client.destroy()
  }
}

async function readText(body: Dispatcher.ResponseData['body'], maxBytes: number): Promise<Pick<Answer, 'text' | 'truncated'>> {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  let [text, room, truncated] = ['', maxBytes, false]
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      text += decoder.decode(chunk.subarray(0, room), { stream: true })
      truncated = chunk.length > room
      if (truncated) break
      room -= chunk.length
    }
  } catch {
    // The status has been read: it says what came of the request, and what there is of the body is shown.
    truncated = true
  }
  // Without this last call a character that the limit cuts in two is left out rather than replaced.
  if (!truncated) text += decoder.decode()
  return { text: text.replaceAll('\0', '\uFFFD'), truncated }
}
