/** Calls to other services: typed methods as promises, always with a deadline, repeated only where the contract says that it is safe. */
import { setTimeout as pause } from 'node:timers/promises'
import {
  type ChannelCredentials,
  Client,
  type ClientOptions,
  type ClientUnaryCall,
  Metadata,
  type ServiceDefinition,
  credentials,
  type requestCallback,
} from '@grpc/grpc-js'
import { HealthService } from '#gen/grpc/health/v1/health.ts'
import { meshErrors } from '../errors.ts'
import { LruCache } from '../lru-cache.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { key } from '../telemetry/names.ts'
import { currentScope } from '../telemetry/scope.ts'
import { type TraceContext, formatTraceparent } from '../telemetry/trace-context.ts'
import { type Attributes, type Span, startSpan } from '../telemetry/tracing.ts'
import type { Context } from './call.ts'
import type { PeerToken } from './caller.ts'
import { type Method, methodOf } from './descriptors.ts'
import { methodMetrics } from './method-metrics.ts'
import { methodSpan } from './method-span.ts'
import { type NamesOptions, byName } from './names.ts'
import { Reconnection, maxReconnectPauseMs } from './reconnection.ts'
import { type Failure, failureOf, maxUnprocessed, waitBefore } from './retry.ts'
import { fromServiceError } from './status.ts'
import type { Tls } from '../tls/credentials.ts'

export interface CallOptions {
  /** Shorter than the contract's deadline, if the caller has less time. */
  timeoutMs?: number
  /** Maximum attempts of a call that is safe to repeat; 3 if unset. */
  attempts?: number
}

export type Methods<Definition> = {
  [Name in keyof Definition]: Definition[Name] extends {
    requestSerialize: (request: infer Request) => Buffer
    responseDeserialize: (bytes: Buffer) => infer Response
  }
    ? (request: Request, context: Context, options?: CallOptions) => Promise<Response>
    : never
}

/** The result of a raw call: the message, and the metadata beside it. */
export interface RawReply {
  response: Buffer
  replies: Metadata
}

export interface ChannelParts {
  /** `host:port`; several replicas joined by `+` are used in turn. */
  address: string
  /** Our proof of identity; absent for a client outside the mesh. */
  peerToken?: PeerToken
  /** The name of the service at that address; if unset, the service whose contract a method belongs to. */
  service?: string
  /** If set, only that service is called, and our certificate replaces the token. */
  tls?: Tls | undefined
  metrics?: Metrics
  /** How a name is resolved. */
  names?: NamesOptions
}

/** Maximum callers whose encoded tokens are kept. */
const maxLoggedCallers = 200

/** A call is not repeated with less time left, in milliseconds. */
const lastAttemptMs = 20

/** Maximum request size, in bytes: the same as that of a server of the mesh. */
export const maxRequestBytes = 1024 * 1024

const channelOptions: ClientOptions = {
  'grpc.keepalive_time_ms': 20_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.keepalive_permit_without_calls': 1,
  // A service that returns is found within a second, not within grpc's default of two minutes.
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.min_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': maxReconnectPauseMs,
  'grpc.max_receive_message_length': 4 * 1024 * 1024,
  'grpc.max_send_message_length': maxRequestBytes,
  // The retries below replace grpc's: they know what is safe.
  'grpc.enable_retries': 0,
  'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
}

/** `10.0.0.1:1+10.0.0.2:1` → `ipv4:10.0.0.1:1,10.0.0.2:1`, likewise IPv6. A single name stands for all of its replicas. */
function targetOf({ address, names }: ChannelParts): { target: string; options?: ClientOptions } {
  const replicas = address.split('+')
  if (replicas.every((each) => /^[\d.]+:\d+$/.test(each))) return { target: `ipv4:${replicas.join(',')}` }
  if (replicas.every((each) => /^\[[\da-fA-F:]+\]:\d+$/.test(each))) return { target: `ipv6:${replicas.join(',')}` }
  if (replicas.length > 1)
    throw new Error(`${address}: replicas joined by + are IP addresses of one family with ports; a name stands alone`)
  return byName(address, names)
}

/** grpc-js writes only a Buffer: the same memory under that type. */
const bufferOf = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** How the other end is identified. An address alone does not say which service should be there. */
function securityOf({ address, service, tls }: ChannelParts): { credentials: ChannelCredentials; options?: ClientOptions } {
  if (tls === undefined) return { credentials: credentials.createInsecure() }
  if (service === undefined) throw new Error(`${address}: over mTLS a channel needs the name of its service`)
  return { credentials: tls.credentials(service), options: tls.channelOptions(service) }
}

/** One connection to one service, carrying bytes: the gateway uses it directly, typed clients build on it. */
export class Channel {
  readonly #client: Client
  readonly #reconnection: Reconnection
  readonly #peerToken: PeerToken | undefined
  readonly #service: string | undefined
  #shownLast = ''
  #said = new LruCache<Metadata>(maxLoggedCallers)
  readonly #metrics
  #closed = false

  constructor(parts: ChannelParts) {
    const security = securityOf(parts)
    const { target, options } = targetOf(parts)
    this.#client = new Client(target, security.credentials, { ...channelOptions, ...security.options, ...options })
    this.#reconnection = new Reconnection(this.#client.getChannel())
    this.#peerToken = parts.tls === undefined ? parts.peerToken : undefined
    this.#service = parts.service
    this.#metrics = parts.metrics === undefined ? undefined : clientMetrics(parts.metrics)
  }

  close(): void {
    this.#closed = true
    this.#client.close()
  }

  /** Starts the counters of these methods at 0, before their first call. */
  expect(methods: readonly Method[]): void {
    if (this.#metrics !== undefined) methods.forEach(this.#metrics)
  }

  /** Resolves when a replica reports that it serves (grpc.health.v1). Throws if none does within the timeout. */
  async serving(timeoutMs: number): Promise<void> {
    const { path, requestSerialize, responseDeserialize } = HealthService.check
    const answer = await new Promise<string>((resolve, reject) => {
      const request = requestSerialize({ service: '' })
      this.#begin(path, request, new Metadata(), Date.now() + timeoutMs, (error, bytes) =>
        error === null ? resolve(responseDeserialize(bytes!).status) : reject(fromServiceError(error)),
      )
    })
    if (answer !== 'SERVING') throw meshErrors.DEPENDENCY_UNAVAILABLE()
  }

  /** Calls a method of the contracts by path. Throws MeshError. */
  async call(path: string, request: Uint8Array, context: Context, options: CallOptions = {}): Promise<RawReply> {
    const method = methodOf(path)
    const deadline = Math.min(Date.now() + Math.min(options.timeoutMs ?? Infinity, method.deadlineMs), context.deadline ?? Infinity)
    const attempts = method.safeToRepeat ? (options.attempts ?? 3) : 1
    const started = performance.now()
    const span = startSpan(startOf(method), context.trace)
    const trace = span?.trace ?? context.trace
    let code = 'OK'
    let reason: string | undefined
    try {
      for (let attempt = 1; ; attempt += 1) {
        try {
          const shown = this.#shown(method)
          const metadata = this.#metadata(context, trace, typeof shown === 'string' ? shown : await shown)
          return await this.#once(path, request, context, deadline, metadata, span)
        } catch (thrown) {
          const failure = failureOf(thrown, context.signal?.aborted ?? false)
          code = failure.error.code
          reason = failure.error.reason
          const repeats = await this.#mayRepeat(failure, attempt, attempts, deadline, context.signal).catch(() => {
            const cancelled = meshErrors.CANCELLED()
            code = cancelled.code
            reason = cancelled.reason
            throw cancelled
          })
          if (!repeats) throw failure.error
          code = 'OK'
          reason = undefined
        }
      }
    } finally {
      const counted = this.#metrics?.(method)
      counted?.ended(code).inc()
      counted?.seconds.observe((performance.now() - started) / 1000, context.trace)
      if (span !== undefined) endSpan(span, code, reason)
    }
  }

  /** Resolves when a failed call may be repeated, or to false if it may not. Rejects when the signal aborts. */
  async #mayRepeat(
    failure: Failure,
    attempt: number,
    attempts: number,
    deadline: number,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const latest = deadline - lastAttemptMs
    if (failure.unconnected && attempt < maxUnprocessed && (await this.#reconnection.before(latest, signal))) return true
    const wait = waitBefore(failure, attempt, attempts)
    if (wait === undefined || Date.now() + wait >= latest) return false
    await pause(wait, undefined, { signal })
    return true
  }

  /** The proof of our identity, cached except for once every few minutes; empty without one. */
  #shown(method: Method): string | Promise<string> {
    const service = this.#service ?? method.owner
    return service === undefined || this.#peerToken === undefined ? '' : this.#peerToken(service)
  }

  #once(
    path: string,
    request: Uint8Array,
    context: Context,
    deadline: number,
    metadata: Metadata,
    span: Span | undefined,
  ): Promise<RawReply> {
    return new Promise((resolve, reject) => {
      if (this.#closed) throw meshErrors.SHUTTING_DOWN()
      if (context.signal?.aborted) throw meshErrors.CANCELLED()
      // The response and the trailer arrive one after the other, in no documented order.
      let response: Buffer | undefined
      let replies: Metadata | undefined
      const settle = () => {
        if (response !== undefined && replies !== undefined) resolve({ response, replies })
      }
      const abort = () => call.cancel()
      const call = this.#begin(path, bufferOf(request), metadata, deadline, (error, bytes) => {
        context.signal?.removeEventListener('abort', abort)
        span?.set(serverOf(call.getPeer()))
        if (error !== null) reject(error)
        response = bytes
        settle()
      })
      call.on('status', ({ metadata }) => {
        replies = metadata
        settle()
      })
      context.signal?.addEventListener('abort', abort, { once: true })
    })
  }

  /** grpc-js records a stack trace for every call, which costs more than the call itself. */
  #begin(path: string, request: Buffer, metadata: Metadata, deadline: number, done: requestCallback<Buffer>): ClientUnaryCall {
    const asIs = (bytes: Buffer) => bytes
    const depth = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    try {
      return this.#client.makeUnaryRequest(path, asIs, asIs, request, metadata, { deadline }, done)
    } finally {
      Error.stackTraceLimit = depth
    }
  }

  #metadata(context: Context, trace: TraceContext, shown: string): Metadata {
    const metadata = this.#saidBy(context.callerToken ?? '', shown).clone()
    metadata.set(key.requestId, context.requestId)
    metadata.set(key.traceparent, formatTraceparent(trace))
    if (context.source !== undefined) metadata.set(key.source, context.source)
    const runId = currentScope()?.work.runId
    if (runId !== undefined) metadata.set(key.run, runId)
    return metadata
  }

  /** The metadata that all calls of one caller share: tokens are long, so they are validated and encoded once, until they change. */
  #saidBy(callerToken: string, shown: string): Metadata {
    if (this.#shownLast !== shown) {
      this.#shownLast = shown
      this.#said = new LruCache(maxLoggedCallers)
    }
    const known = this.#said.get(callerToken)
    if (known !== undefined) return known
    const metadata = new Metadata()
    if (shown !== '') metadata.set(key.peer, shown)
    if (callerToken !== '') metadata.set(key.authorization, `Bearer ${callerToken}`)
    this.#said.set(callerToken, metadata)
    return metadata
  }
}

const startOf = methodSpan('client')

function endSpan(span: Span, code: string, reason: string | undefined): void {
  span.set({ 'rpc.response.status_code': code, 'relay.reason': reason })
  if (code !== 'OK') span.fail(code)
  span.end()
}

/** The host of `host:port`, while there is a connection. */
function serverOf(peer: string): Attributes {
  const match = /^\[?([^\]]+)\]?:(\d+)$/.exec(peer)
  return match === null ? {} : { 'server.address': match[1], 'server.port': Number(match[2]) }
}

/** The methods of a contract over a channel. */
export function methodsOf<Definition extends ServiceDefinition>(definition: Definition, channel: Channel): Methods<Definition> {
  // Only the methods that services call for themselves; the gateway's routes call the others.
  const known = Object.values(definition).map(({ path }) => methodOf(path))
  channel.expect(known.filter(({ peers, open }) => peers.length > 0 || open))
  const entries = Object.entries(definition).map(([name, rpc]) => [
    name,
    async (request: unknown, context: Context, options?: CallOptions) =>
      rpc.responseDeserialize((await channel.call(rpc.path, rpc.requestSerialize(request), context, options)).response),
  ])
  return Object.freeze(Object.fromEntries(entries)) as Methods<Definition>
}

const made = new WeakMap<Metrics, ReturnType<typeof methodMetrics>>()

/** The channels of one process share two metrics. */
function clientMetrics(metrics: Metrics): ReturnType<typeof methodMetrics> {
  const help = { handled: 'gRPC calls to other services, by status code', handling: 'Duration of gRPC calls to other services' }
  const found = made.get(metrics) ?? methodMetrics(metrics, 'grpc_client', help)
  made.set(metrics, found)
  return found
}
