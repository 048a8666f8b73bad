/** One HTTP/1.1 request on an open connection, and its response as text. Follows no redirect and repeats nothing. */
import { HttpConnection, type ExchangeRequest, type ExchangeResponse } from '#mesh/outgoing/exchange.ts'
import { withRequestSpan } from '#mesh/telemetry/outgoing.ts'
import type { Connection } from '../egress/outgoing.ts'
import { shownText } from './plain-text.ts'

export interface Delivery {
  method: ExchangeRequest['method']
  headers: Record<string, string>
  /** The exact bytes; none for a request without a body. */
  body: Uint8Array
}

export interface WebhookResponse {
  status: number
  location: string | undefined
  /** UTF-8; invalid bytes and control characters except tabs and line ends become U+FFFD. */
  text: string
  /** Whether `text` is incomplete: the limit was reached, the connection or the time ended, or the encoding is broken or unknown. */
  truncated: boolean
  /** The unsupported Content-Encoding; `text` is empty then. */
  unknownCoding: string | undefined
}

/**
 * Sends and waits for the response; the connection is closed afterwards. Throws an ExchangeError only while the status is unknown; the
 * request may have arrived then.
 */
export async function deliver(
  { target, socket }: Connection,
  { method, headers, body }: Delivery,
  { maxResponseBytes: maxBytes, signal }: { maxResponseBytes: number; signal: AbortSignal },
): Promise<WebhookResponse> {
  const connection = new HttpConnection(socket, target.url.origin)
  try {
    const response = await withRequestSpan('webhook', method, target.url, ({ headers: trace, setStatus: answered }) => {
      const path = target.url.pathname + target.url.search
      return connection.request({ method, path, headers: { ...headers, ...trace }, body, signal, maxBytes, last: true, onStatus: answered })
    })
    const location = response.headers['location']
    return {
      status: response.status,
      location: Array.isArray(location) ? location[0] : location,
      text: textOf(response),
      truncated: !response.complete,
      unknownCoding: response.unknownCoding,
    }
  } finally {
    await connection.close()
  }
}

function textOf({ bytes, complete }: ExchangeResponse): string {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  // As a stream, a character that the limit cuts in two is dropped rather than replaced.
  return shownText(decoder.decode(bytes, { stream: !complete }))
}
