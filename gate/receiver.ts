/** The receiver of the gate's webhooks. It answers 200 to everything and reports each delivery that belongs to the gate. */
import { type IncomingMessage, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { type ListenAddress, formatAddress } from '#mesh/config.ts'
import type { Delivery } from './delivery-report.ts'

export interface Receiver {
  /** Its URL, without a trailing slash. */
  readonly url: string
  stop(): Promise<void>
}

export interface ReceiverOptions {
  listen: ListenAddress
  /** Marks the deliveries of this run; others are accepted and ignored. */
  tag: string
  /** How long a response takes, in milliseconds. */
  delayMs: number
  onDelivery: (delivery: Delivery) => void
}

/** The workload sends far smaller bodies. */
const bodyLimit = 16_384

/** The nonce in a body of this run. Anyone may send anything here. */
export function nonceIn(body: string, tag: string): string | undefined {
  try {
    const found = JSON.parse(body) as { gate?: unknown; nonce?: unknown } | null
    return found?.gate === tag && typeof found.nonce === 'string' ? found.nonce : undefined
  } catch {
    return undefined
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size <= bodyLimit) chunks.push(chunk)
  }
  return size > bodyLimit ? '' : Buffer.concat(chunks).toString('utf8')
}

export async function startReceiver({ listen, tag, delayMs, onDelivery }: ReceiverOptions): Promise<Receiver> {
  const stopping = new AbortController()
  const server = createServer({ requestTimeout: 30_000, keepAliveTimeout: 60_000 }, (request, response) => {
    const answer = async () => {
      const nonce = nonceIn(await bodyOf(request), tag)
      const id = request.headers['webhook-id']
      if (nonce !== undefined) onDelivery({ nonce, webhookId: typeof id === 'string' ? id : undefined })
      if (delayMs > 0) await pause(delayMs, undefined, { signal: stopping.signal })
      response.writeHead(200, { 'content-type': 'text/plain' }).end('OK')
    }
    // A client that cut the connection wants no response.
    answer().catch(() => response.destroy())
  })
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(listen.port, listen.host, resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://${formatAddress({ host: listen.host, port })}`,
    stop: () =>
      new Promise((resolve) => {
        stopping.abort()
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
