/** The gate's HTTP: calls to the gateway over many persistent connections, and small, quick reads. */
import { Pool } from 'undici'
import type { Reply, Request } from './virtual-user.ts'

/** The timeout of a response, in milliseconds. */
export const timeoutMs = 30_000

const largest = 4 << 20

export class Caller {
  readonly #pool: Pool
  readonly #base: string
  readonly #authorization: string

  constructor(gateway: URL, apiKey: string) {
    this.#pool = new Pool(gateway.origin, { connections: 64, pipelining: 1, keepAliveTimeout: 60_000, maxResponseSize: largest })
    this.#base = gateway.pathname.replace(/\/$/, '')
    this.#authorization = `Bearer ${apiKey}`
  }

  /** Rejects if no complete response arrives in time, or if it is invalid. */
  async send({ method, path, headers = {}, body }: Request): Promise<Reply> {
    const json = body === undefined ? {} : { 'content-type': 'application/json' }
    const response = await this.#pool.request({
      method,
      path: this.#base + path,
      headers: { authorization: this.#authorization, ...json, ...headers },
      body: body ?? null,
      signal: AbortSignal.timeout(timeoutMs),
    })
    const replayed = response.headers['idempotency-replayed']
    return { status: response.statusCode, replayed: String(replayed), text: await response.body.text() }
  }

  stop(): Promise<void> {
    return this.#pool.destroy()
  }
}

/** The text at a URL, at most 16 MiB. Throws with the cause. */
export async function readText(url: URL, timeoutMs: number, headers: Record<string, string> = {}): Promise<string> {
  const response = await fetch(url, { headers, redirect: 'error', signal: AbortSignal.timeout(timeoutMs) })
  if (!response.ok) throw new Error(`${url.host}${url.pathname} answers ${response.status}`)
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.length
    if (size > 16 << 20) throw new Error(`${url.host}${url.pathname} answers too much`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
