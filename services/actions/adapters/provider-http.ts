/**
 * Calls to a provider's HTTP API with the token of a connected account: JSON in and out, thin on purpose. Redirects are not followed; only
 * reads are repeated. A 401 means that nothing was done, so the call is repeated once with a fresh token.
 *
 * Failures are distinguished by what they say about the effect (ApiFailure.kind), because outcomes depend on that.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { fullJitterMs } from '#mesh/backoff.ts'
import type { ProviderName } from '#providers/list.ts'
import { MeshError } from '#mesh/errors.ts'
import { type FairSlots, NoSlot, type Release } from '#mesh/fair-slots.ts'
import { ConnectError } from '#mesh/outgoing/connect.ts'
import { ExchangeError, type ExchangeResponse, type HttpConnection, headerLimits } from '#mesh/outgoing/exchange.ts'
import { ConnectionPool } from '#mesh/outgoing/pool.ts'
import type { Lookup } from '#mesh/outgoing/resolver.ts'
import { withRequestSpan } from '#mesh/telemetry/outgoing.ts'
import { type RunHandle, RunStopped } from '../adapter.ts'
import type { Connections, Token } from '../connections.ts'
import { type ErrorReader, errorCodeIn } from './error-code.ts'
import { busySentence, providerSlots } from './slots.ts'

export type { ErrorReader }

/** The options of every adapter of a provider. */
export interface ApiParts {
  /** The API's origin, with a base path if there is one. */
  baseUrl: URL
  connections: Connections
  /** For one request and its response, in milliseconds. */
  timeoutMs?: number
  /** Maximum requests of all adapters to this provider at once, and how many wait for a slot. */
  slots?: FairSlots
  lookup?: Lookup | undefined
  /** The wait before a read is repeated for the first time, in milliseconds; doubled each time. */
  retryMs?: number
  /** Called for each request that was sent, or could not be. */
  count?: CountRequest | undefined
}

export interface ApiOptions extends ApiParts {
  provider: ProviderName
  readError: ErrorReader
  /** Reads a rejection from a body with status 200; undefined if the call was done. */
  readRefusal?: (body: unknown) => { status: number; code: string | undefined } | undefined
  /** Maximum size of a response. */
  maxResponseBytes?: number
}

/** The first digit of the response's status; `none` without a response. */
export const statusClasses = ['2xx', '3xx', '4xx', '5xx', 'other', 'none'] as const
export type StatusClass = (typeof statusClasses)[number]
/** Called with the status, and the time until the end of the response. */
export type CountRequest = (provider: ProviderName, status: StatusClass, seconds: number) => void

export interface ApiCall {
  method: 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE'
  /** Below the base URL, beginning with a slash; inserted values are percent-encoded already. */
  path: string
  query?: Readonly<Record<string, string>>
  headers?: Readonly<Record<string, string>>
  json?: unknown
  /** Cannot be undone: right before it leaves, after everything that takes time, the run must be owned. */
  effect?: boolean
  /** A recovery point that is made durable right before it leaves: while the request waits for its turn, nothing says that it was sent. */
  point?: Record<string, unknown>
}

export interface ApiResponse {
  /** 200 to 299. */
  status: number
  /** Undefined if the body is empty. Parse it: it comes from the other side. */
  json: unknown
}

/** Every reason of a failed call. */
export const apiReasons = [
  'TOKEN_UNAVAILABLE', // not sent: the oauth service does not respond
  'CONNECTION_UNUSABLE', // not sent: it gives no token of this connection (any more)
  'PROVIDER_UNREACHABLE', // not sent: no connection
  'OUTGOING_BUSY', // not sent: the maximum number of requests was in flight here
  'RUN_STOPPED', // not sent: the run's time was up
  'PROVIDER_UNAUTHORIZED', // refused: 401, also with a fresh token
  'PROVIDER_FORBIDDEN', // refused: 403
  'PROVIDER_NOT_FOUND', // refused: 404 or 410
  'PROVIDER_CONFLICT', // refused: 409 or 412
  'PROVIDER_RATE_LIMITED', // refused: 429
  'PROVIDER_REFUSED', // refused: any other status from 300 to 499
  'PROVIDER_ERROR', // unclear: 408 or a status of 500 and more
  'PROVIDER_TIMEOUT', // unclear: no answer in time
  'PROVIDER_CONNECTION_LOST', // unclear: sent, and then no response
  'PROVIDER_HEADERS_TOO_LARGE', // unclear: sent, and the headers of the response exceed the limit
  'PROVIDER_GARBLED', // unclear: done, as the status says, but the response cannot be read
] as const
export type ApiReason = (typeof apiReasons)[number]

/** `not-sent` and `refused`: this call had no effect. `unclear`: it may have had one. */
export type FailureKind = 'not-sent' | 'refused' | 'unclear'

/** Why a call did not succeed; the message is public and says nothing about what was sent. */
export class ApiFailure extends Error {
  override readonly name = 'ApiFailure'
  readonly kind: FailureKind
  readonly reason: ApiReason
  readonly status: number | undefined
  /** When to retry, if the other side said so, in milliseconds. */
  readonly retryAfterMs: number | undefined

  constructor(
    kind: FailureKind,
    reason: ApiReason,
    message: string,
    more: { status?: number; retryAfterMs?: number | undefined; cause?: unknown } = {},
  ) {
    super(message, { cause: more.cause })
    this.kind = kind
    this.reason = reason
    this.status = more.status
    this.retryAfterMs = more.retryAfterMs
  }
}

export interface ProviderApi {
  /** The granted scopes, as they are now. Throws ApiFailure: not sent. */
  scopes(run: RunHandle): Promise<readonly string[]>
  /** Throws ApiFailure; and what `assertHeld` throws, if `effect` is set: then nothing was sent. */
  call(run: RunHandle, call: ApiCall): Promise<ApiResponse>
}

const connectMs = 5_000
const maxConnects = 3
const maxReads = 3
const maxRetryMs = 5_000

export function providerApi(options: ApiOptions): ProviderApi {
  const {
    provider,
    readError,
    readRefusal,
    baseUrl,
    connections,
    timeoutMs = 15_000,
    maxResponseBytes = 1024 * 1024,
    retryMs = 250,
    count,
  } = options
  const base = baseUrl.pathname.replace(/\/$/, '')
  const { slots = providerSlots(), lookup } = options
  const pool = new ConnectionPool({ origin: baseUrl, lookup })

  async function tokenOf(run: RunHandle, refused?: string): Promise<Token> {
    const { workspace, actor, connectionId, context } = run
    if (connectionId === undefined) throw new ApiFailure('not-sent', 'CONNECTION_UNUSABLE', 'The run has no connection.')
    try {
      return await connections.token({ workspace, actor, provider, connectionId }, context, refused)
    } catch (cause) {
      if (run.signal.aborted) throw stopped(cause)
      if (!(cause instanceof MeshError)) throw cause
      const message = 'No token is available: the account must be connected again, or a different one is connected now.'
      if (cause.code !== 'UNAVAILABLE' && cause.code !== 'DEADLINE_EXCEEDED')
        throw new ApiFailure('not-sent', 'CONNECTION_UNUSABLE', message, { cause })
      throw new ApiFailure('not-sent', 'TOKEN_UNAVAILABLE', 'No token can be had now.', { cause })
    }
  }

  /** Waits for its turn. Throws ApiFailure: not sent. */
  async function turn(run: RunHandle): Promise<Release> {
    try {
      return await slots.acquire(run.workspace, run.signal)
    } catch (error) {
      if (!(error instanceof NoSlot)) throw error
      if (error.why === 'stopped') throw stopped()
      throw new ApiFailure('not-sent', 'OUTGOING_BUSY', `This was not sent to ${provider}: ${busySentence(error.why)}`)
    }
  }

  /** Throws ApiFailure: not sent. */
  async function connected(run: RunHandle): Promise<HttpConnection> {
    try {
      return await pool.take(AbortSignal.any([run.signal, AbortSignal.timeout(connectMs)]))
    } catch (cause) {
      if (run.signal.aborted) throw stopped()
      if (!(cause instanceof ConnectError)) throw cause
      throw new ApiFailure('not-sent', 'PROVIDER_UNREACHABLE', `${provider} cannot be reached.`, { cause })
    }
  }

  /** A connection on which the request can leave at once: everything that takes time is done. Throws ApiFailure: not sent. */
  async function readyConnection(run: RunHandle, { point, effect }: ApiCall): Promise<HttpConnection> {
    let recorded = point === undefined
    for (let tries = 1; ; tries += 1) {
      const connection = await connected(run)
      try {
        if (!recorded) await run.record(point!)
        recorded = true
        if (effect) await run.assertHeld()
        if (run.signal.aborted) throw stopped()
        if (connection.open) return connection
        // It became too old while the store was unavailable.
        if (tries === maxConnects)
          throw new ApiFailure('not-sent', 'PROVIDER_UNREACHABLE', `${provider} closed the connection before anything was sent.`)
      } catch (error) {
        pool.give(connection)
        throw error instanceof RunStopped ? stopped(error) : error
      }
      pool.give(connection)
    }
  }

  async function once(run: RunHandle, call: ApiCall, token: string): Promise<ApiResponse> {
    const release = await turn(run)
    const started = performance.now()
    let status: number | undefined
    let counted = true
    try {
      return await withRequestSpan(provider, call.method, baseUrl, async ({ headers: trace, setStatus: answered }) => {
        const connection = await readyConnection(run, call).catch((error: unknown) => {
          counted = error instanceof ApiFailure && error.reason === 'PROVIDER_UNREACHABLE'
          throw error
        })
        const body = call.json === undefined ? undefined : JSON.stringify(call.json)
        const query = call.query === undefined ? '' : `?${new URLSearchParams(call.query).toString()}`
        const headers = {
          accept: 'application/json',
          ...(body !== undefined && { 'content-type': 'application/json' }),
          ...call.headers,
          authorization: `Bearer ${token}`,
          ...trace,
        }
        const signal = AbortSignal.any([run.signal, AbortSignal.timeout(timeoutMs)])
        const onStatus = (read: number) => answered((status = read))
        const path = base + call.path + query
        try {
          const response = await connection.request({
            method: call.method,
            path,
            headers,
            body,
            signal,
            maxBytes: maxResponseBytes,
            onStatus,
          })
          return judge(response)
        } catch (error) {
          throw error instanceof ExchangeError ? noAnswer(error) : error
        } finally {
          pool.give(connection)
        }
      })
    } finally {
      release()
      if (counted) count?.(provider, classOf(status), (performance.now() - started) / 1000)
    }
  }

  /** Once a status was read, it decides what happened to the request, whatever happens to the rest. */
  function judge({ status, headers, bytes, complete }: ExchangeResponse): ApiResponse {
    if (status < 200 || status >= 300)
      throw refusal(provider, status, errorCodeIn(complete ? bytes.toString('utf8') : '', readError), headers['retry-after'])
    let json: unknown
    try {
      if (!complete) throw new Error('the answer is not whole')
      const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
      json = text === '' ? undefined : JSON.parse(text)
    } catch (cause) {
      throw new ApiFailure('unclear', 'PROVIDER_GARBLED', `${provider} answered ${status}, but the answer cannot be read.`, {
        status,
        cause,
      })
    }
    const refused = readRefusal?.(json)
    if (refused !== undefined) throw refusal(provider, refused.status, refused.code, headers['retry-after'])
    return { status, json }
  }

  function noAnswer(cause: ExchangeError): ApiFailure {
    switch (cause.kind) {
      case 'stopped':
        return new ApiFailure('unclear', 'PROVIDER_TIMEOUT', `${provider} did not answer in time.`, { cause })
      case 'headers too large':
        return new ApiFailure('unclear', 'PROVIDER_HEADERS_TOO_LARGE', `The answer of ${provider} has ${headerLimits}, and is not read.`, {
          cause,
        })
      case 'lost':
        return new ApiFailure('unclear', 'PROVIDER_CONNECTION_LOST', `The connection to ${provider} was lost before an answer came.`, {
          cause,
        })
    }
  }

  async function freshened(run: RunHandle, call: ApiCall): Promise<ApiResponse> {
    const { accessToken } = await tokenOf(run)
    try {
      return await once(run, call, accessToken)
    } catch (error) {
      if (!(error instanceof ApiFailure) || error.status !== 401) throw error
      return once(run, call, (await tokenOf(run, accessToken)).accessToken)
    }
  }

  return {
    scopes: async (run) => (await tokenOf(run)).scopes,

    async call(run, call) {
      for (let attempt = 1; ; attempt += 1) {
        try {
          return await freshened(run, call)
        } catch (error) {
          if (call.method !== 'GET' || attempt >= maxReads || !(error instanceof ApiFailure) || !passing(error)) throw error
          const wait = error.retryAfterMs ?? fullJitterMs(retryMs * 2 ** attempt)
          await pause(Math.min(wait, maxRetryMs), undefined, { signal: run.signal }).catch(() => {
            throw error
          })
        }
      }
    },
  }
}

const stopped = (cause?: unknown) => new ApiFailure('not-sent', 'RUN_STOPPED', "The run's time was up before this was sent.", { cause })

/** Text of the other side, mapped to a closed set. */
const classOf = (status: number | undefined): StatusClass =>
  status === undefined ? 'none' : (statusClasses.find((each) => each === `${Math.floor(status / 100)}xx`) ?? 'other')

/** Failures that may be temporary. */
const passing = ({ kind, reason }: ApiFailure) =>
  kind === 'unclear' || reason === 'PROVIDER_UNREACHABLE' || reason === 'PROVIDER_RATE_LIMITED'

const reasonByStatus: ReadonlyMap<number, ApiReason> = new Map([
  [401, 'PROVIDER_UNAUTHORIZED'],
  [403, 'PROVIDER_FORBIDDEN'],
  [404, 'PROVIDER_NOT_FOUND'],
  [410, 'PROVIDER_NOT_FOUND'],
  [409, 'PROVIDER_CONFLICT'],
  [412, 'PROVIDER_CONFLICT'],
  [429, 'PROVIDER_RATE_LIMITED'],
])

function refusal(provider: string, status: number, code: string | undefined, retryAfter?: string | string[]): ApiFailure {
  const message = `${provider} answered ${status}${code === undefined ? '' : ` (${code})`}.`
  const retryAfterMs = typeof retryAfter === 'string' && /^\d{1,6}$/.test(retryAfter) ? Number(retryAfter) * 1000 : undefined
  if (status >= 500 || status === 408) return new ApiFailure('unclear', 'PROVIDER_ERROR', message, { status, retryAfterMs })
  return new ApiFailure('refused', reasonByStatus.get(status) ?? 'PROVIDER_REFUSED', message, { status, retryAfterMs })
}
