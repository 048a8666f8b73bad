/** Calls to other services: typed methods as promises, deadlines always, repeats only where the contract says that it is safe. */
import { setTimeout as pause } from 'node:timers/promises'
import { Client, type ClientOptions, Metadata, type ServiceDefinition, credentials } from '@grpc/grpc-js'
import { type MeshError, meshErrors } from '../errors.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { key } from '../telemetry/names.ts'
import { formatTraceparent } from '../telemetry/trace-context.ts'
import type { Context } from './call.ts'
import type { PeerToken } from './caller.ts'
import { methodOf } from './descriptors.ts'
import { fromServiceError } from './status.ts'

export interface CallOptions {
  /** Less than the contract's deadline, where the caller has less time. */
  timeoutMs?: number
  /** How often a call that is safe to repeat is made at the most; 3 when unset. */
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

/** What came back from a raw call: the message, and what the service said beside it. */
export interface RawReply {
  response: Buffer
  replies: Metadata
}

export interface ChannelParts {
  /** `host:port`; several replicas joined by `+` are taken in turn. */
  address: string
  /** Shows who we are; absent for a client outside the mesh. */
  peerToken?: PeerToken
  metrics?: Metrics
}

const channelOptions: ClientOptions = {
  'grpc.keepalive_time_ms': 20_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.keepalive_permit_without_calls': 1,
  // A service that comes back is found again within a second, not within grpc's default of two minutes.
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.min_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1000,
  'grpc.max_receive_message_length': 4 * 1024 * 1024,
  'grpc.max_send_message_length': 1024 * 1024,
  'grpc.max_metadata_size': 16 * 1024,
  // Repeats are ours, below: they know what is safe.
  'grpc.enable_retries': 0,
  'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
}

/** `a:1+b:2` → `ipv4:a:1,b:2`; one name stays as it is and is resolved by DNS. */
function target(address: string): string {
  const replicas = address.split('+')
  if (replicas.length === 1 && !/^[\d.]+:\d+$/.test(address)) return `dns:${address}`
  return `ipv4:${replicas.join(',')}`
}

/** One connection to one service, carrying bytes: what the gateway uses as it is, and typed clients build on. */
export class Channel {
  readonly #client: Client
  readonly #peerToken: PeerToken | undefined
  readonly #handled
  readonly #seconds

  constructor(parts: ChannelParts) {
    this.#client = new Client(target(parts.address), credentials.createInsecure(), channelOptions)
    this.#peerToken = parts.peerToken
    this.#handled = parts.metrics === undefined ? undefined : clientMetrics(parts.metrics).handled
    this.#seconds = parts.metrics === undefined ? undefined : clientMetrics(parts.metrics).seconds
  }

  close(): void {
    this.#client.close()
  }

  /** Calls a method of the contracts by path. Throws MeshError. */
  async call(path: string, request: Buffer | Uint8Array, context: Context, options: CallOptions = {}): Promise<RawReply> {
    const method = methodOf(path)
    const deadline = Math.min(Date.now() + Math.min(options.timeoutMs ?? Infinity, method.deadlineMs), context.deadline ?? Infinity)
    const attempts = method.safeToRepeat ? (options.attempts ?? 3) : 1
    const started = performance.now()
    let code = 'OK'
    try {
      for (let attempt = 1; ; attempt += 1) {
        try {
          return await this.#once(path, request, context, deadline)
        } catch (thrown) {
          const error = thrown as MeshError
          code = error.code
          // Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
          const wait = Math.random() * 25 * 2 ** attempt
          if (attempt >= attempts || error.code !== 'UNAVAILABLE' || Date.now() + wait >= deadline - 20) throw error
          await pause(wait, undefined, { signal: context.signal }).catch(() => {
            throw meshErrors.CANCELLED()
          })
          code = 'OK'
        }
      }
    } finally {
      const labels = { grpc_service: method.service, grpc_method: method.name }
      this.#handled?.inc({ ...labels, grpc_code: code })
      this.#seconds?.observe(labels, (performance.now() - started) / 1000)
    }
  }

  #once(path: string, request: Buffer | Uint8Array, context: Context, deadline: number): Promise<RawReply> {
    return new Promise((resolve, reject) => {
      if (context.signal?.aborted) {
        reject(meshErrors.CANCELLED())
        return
      }
      let replies: Metadata
      const abort = () => call.cancel()
      // grpc-js takes a stack trace for every call, which costs more than the call's own work.
      const depth = Error.stackTraceLimit
      Error.stackTraceLimit = 0
      const call = this.#client.makeUnaryRequest(
        path,
        (bytes: Buffer) => bytes,
        (bytes: Buffer) => bytes,
        request as Buffer,
        this.#metadata(context),
        { deadline },
        (error, response) => {
          context.signal?.removeEventListener('abort', abort)
          if (error !== null) reject(fromServiceError(error))
          // The trailer comes with the status, which grpc-js reports before this.
          else resolve({ response: response!, replies: replies ?? new Metadata() })
        },
      )
      Error.stackTraceLimit = depth
      call.on('status', (status) => (replies = status.metadata))
      context.signal?.addEventListener('abort', abort, { once: true })
    })
  }

  #metadata(context: Context): Metadata {
    const metadata = new Metadata()
    metadata.set(key.requestId, context.requestId)
    metadata.set(key.traceparent, formatTraceparent(context.trace))
    if (context.callerToken !== undefined) metadata.set(key.authorization, `Bearer ${context.callerToken}`)
    if (this.#peerToken !== undefined) metadata.set(key.peer, this.#peerToken())
    return metadata
  }
}

/** The methods of a contract over a channel. */
export function methodsOf<Definition extends ServiceDefinition>(definition: Definition, channel: Channel): Methods<Definition> {
  const entries = Object.entries(definition).map(([name, rpc]) => [
    name,
    async (request: unknown, context: Context, options?: CallOptions) =>
      rpc.responseDeserialize((await channel.call(rpc.path, rpc.requestSerialize(request), context, options)).response),
  ])
  return Object.freeze(Object.fromEntries(entries)) as Methods<Definition>
}

const made = new WeakMap<Metrics, ReturnType<typeof makeMetrics>>()

/** Several channels of one process count into the same two metrics. */
function clientMetrics(metrics: Metrics): ReturnType<typeof makeMetrics> {
  const existing = made.get(metrics) ?? makeMetrics(metrics)
  made.set(metrics, existing)
  return existing
}

function makeMetrics(metrics: Metrics) {
  return {
    handled: metrics.counter('grpc_client_handled_total', 'Calls to other services by how they ended', ['grpc_service', 'grpc_method', 'grpc_code']),
    seconds: metrics.seconds('grpc_client_handling_seconds', 'Time that calls to other services took', ['grpc_service', 'grpc_method']),
  }
}
