/** How a provider is reached: at its own endpoints, within a time, to an answer of a bounded size, and nowhere that it points to. */
import { tracedRequest } from '#mesh/telemetry/outgoing.ts'
import { isUsable } from './provider.ts'
import { ownError } from './provider-error.ts'

export interface FetchParts {
  /** Whose endpoints they are, by its name. */
  provider: string
  /** Whether http on loopback will do. */
  allowHttp: boolean
  /** All URLs that may be asked. */
  endpoints: readonly string[]
  /** For the whole of it, in milliseconds. */
  requestMs: number
}

interface Options {
  method: string
  headers: Record<string, string>
  body?: URLSearchParams | string | null | undefined
}

/** Larger than any token answer or set of keys. */
const mostBytes = 256 * 1024

/** Throws ProviderError, with nothing in it of what was sent or came back. */
export function boundedFetch({ provider, allowHttp, endpoints, requestMs }: FetchParts) {
  const allowed = new Set(endpoints)
  return async (url: string, { method, headers, body }: Options): Promise<Response> => {
    if (!allowed.has(url) || !isUsable(new URL(url), allowHttp)) throw ownError('unreadable')
    const signal = AbortSignal.timeout(requestMs)
    let response: Response
    try {
      response = await tracedRequest(provider, method, new URL(url), async (outgoing) => {
        const init = { method, headers: { ...headers, ...outgoing.headers }, body: body ?? null, redirect: 'manual', signal } as const
        const answer = await fetch(url, init)
        outgoing.answered(answer.status)
        return answer
      })
    } catch {
      throw ownError('unreachable')
    }
    const bytes = await read(response)
    const { status, statusText } = response
    // These have no body, whatever was sent (the Fetch standard, 2.2.3).
    const bodiless = [101, 103, 204, 205, 304].includes(status)
    return new Response(bodiless ? null : bytes, { status, statusText, headers: response.headers })
  }
}

async function read(response: Response): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = []
  let length = 0
  try {
    for await (const chunk of response.body ?? []) {
      length += chunk.byteLength
      if (length > mostBytes) throw ownError('unreadable')
      chunks.push(chunk)
    }
  } catch (error) {
    // What was too long stays that; whatever else ended it early is an answer that did not arrive.
    throw length > mostBytes ? error : ownError('unreachable')
  }
  return new Uint8Array(Buffer.concat(chunks))
}
