/** Requests to a provider: only to its own endpoints, within a timeout, with a limited response, and without following redirects. */
import { ConnectError } from '#mesh/outgoing/connect.ts'
import { ExchangeError, type ExchangeResponse } from '#mesh/outgoing/exchange.ts'
import { ConnectionPool } from '#mesh/outgoing/pool.ts'
import { type Lookup, NameResolver } from '#mesh/outgoing/resolver.ts'
import { withRequestSpan } from '#mesh/telemetry/outgoing.ts'
import { isUsable } from './provider.ts'
import { ownError } from './provider-error.ts'

export interface FetchParts {
  /** The name of the provider. */
  provider: string
  /** Whether http on loopback is allowed. */
  allowHttp: boolean
  /** All URLs that may be requested. */
  endpoints: readonly string[]
  /** For the whole request, in milliseconds. */
  requestMs: number
  connections: ProviderConnections
}

interface Options {
  method: string
  headers: Record<string, string>
  body?: URLSearchParams | string | null | undefined
}

/** Larger than any token response or set of keys. */
const maxBytes = 256 * 1024

/** Connections to the origins of providers, which operators have configured. */
export class ProviderConnections {
  readonly #lookup: Lookup
  readonly #pools = new Map<string, ConnectionPool>()

  constructor(lookup: Lookup = new NameResolver().lookup) {
    this.#lookup = lookup
  }

  to(url: URL): ConnectionPool {
    const known = this.#pools.get(url.origin) ?? new ConnectionPool({ origin: url, lookup: this.#lookup })
    this.#pools.set(url.origin, known)
    return known
  }
}

/** Throws ProviderError, which contains nothing that was sent or received. */
export function boundedFetch({ provider, allowHttp, endpoints, requestMs, connections }: FetchParts) {
  const allowed = new Set(endpoints)
  return async (address: string, { method, headers, body }: Options): Promise<Response> => {
    const url = new URL(address)
    if (!allowed.has(address) || !isUsable(url, allowHttp)) throw ownError('unreadable')
    const signal = AbortSignal.timeout(requestMs)
    const response = await withRequestSpan(provider, method, url, async (outgoing) => {
      const pool = connections.to(url)
      try {
        const connection = await pool.take(signal)
        try {
          return await connection.request({
            method,
            path: url.pathname + url.search,
            headers: { ...contentType(body), ...headers, ...outgoing.headers },
            body: body?.toString(),
            signal,
            maxBytes,
            onStatus: outgoing.setStatus,
          })
        } finally {
          pool.give(connection)
        }
      } catch (error) {
        if (error instanceof ExchangeError && error.kind === 'headers too large') throw ownError('unreadable')
        if (error instanceof ExchangeError || error instanceof ConnectError) throw ownError('unreachable')
        throw error
      }
    })
    return standardResponse(response)
  }
}

/** As the Fetch standard defines it for such a body. */
const contentType = (body: Options['body']): Record<string, string> =>
  body instanceof URLSearchParams ? { 'content-type': 'application/x-www-form-urlencoded;charset=UTF-8' } : {}

/** Only a complete response counts: the rest of one that was too long, or ended early, might say something else. */
function standardResponse({ status, headers, bytes, complete, unknownCoding }: ExchangeResponse): Response {
  if (!complete) throw ownError(bytes.length >= maxBytes || unknownCoding !== undefined ? 'unreadable' : 'unreachable')
  const copied = new Headers()
  for (const [name, value] of Object.entries(headers)) {
    for (const each of Array.isArray(value) ? value : value === undefined ? [] : [value]) copied.append(name, each)
  }
  // These have no body, whatever was sent (the Fetch standard, 2.2.3).
  const bodiless = [204, 205, 304].includes(status)
  return new Response(bodiless ? null : new Uint8Array(bytes), { status, headers: copied })
}
