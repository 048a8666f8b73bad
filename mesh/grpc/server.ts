/** The gRPC server of a process: the handlers of its contracts behind the interceptors, health, reflection, limits. */
import { randomUUID } from 'node:crypto'
import { constants } from 'node:http2'
import { Metadata, Server, ServerCredentials, type ServerUnaryCall, type ServiceDefinition, type sendUnaryData } from '@grpc/grpc-js'
import type { DenialCounter } from '../audit/denials.ts'
import { type ListenAddress, formatAddress } from '../config.ts'
import { MeshError, meshErrors } from '../errors.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { key } from '../telemetry/names.ts'
import { type Work, runInScope } from '../telemetry/scope.ts'
import { parseTraceparent } from '../telemetry/trace-context.ts'
import { startServerSpan } from '../telemetry/tracing.ts'
import type { Call } from './call.ts'
import { type Verifier, bearerToken, isService } from './caller.ts'
import { type Method, methodOf } from './descriptors.ts'
import { type Health, healthHandlers } from './health.ts'
import { interceptors } from './interceptors/index.ts'
import { type Interceptor, chain } from './interceptors/interceptor.ts'
import { malformed } from './interceptors/validate.ts'
import { methodSpan } from './method-span.ts'
import { reflectionHandlers } from './reflection.ts'
import { graceMs, serverOptions } from './server-options.ts'
import { parseSource, sourceOf } from './source.ts'
import { toStatus } from './status.ts'
import { ServerStreams, retryAfterMs, streamOf } from './stream-bytes.ts'
import type { Tls, TlsListener } from '../tls/credentials.ts'

/** The handlers of one service, as promises: (request, call) → response, or the encoded response. */
export type Handlers<Definition> = {
  [Name in keyof Definition]: Definition[Name] extends {
    requestDeserialize: (bytes: Buffer) => infer Request
    responseSerialize: (response: infer Response) => Buffer
  }
    ? (request: Request, call: Call) => Promise<Response | Uint8Array>
    : never
}

/** A contract and its handlers; only the server reads it. */
export interface BoundServer {
  readonly definition: ServiceDefinition
  readonly handlers: Record<string, (request: never, call: Call) => Promise<unknown>>
}

export const served = <Definition extends ServiceDefinition>(definition: Definition, handlers: Handlers<Definition>): BoundServer => ({
  definition,
  handlers,
})

export interface ServerParts {
  services: readonly BoundServer[]
  verifier: Verifier
  /** Counts denials, for the audit log. */
  denials?: DenialCounter | undefined
  health: Health
  /** If set, only services that prove their name with a certificate are served. */
  tls?: Tls | undefined
  log: Logger
  metrics: Metrics
  /** Maximum age of a connection, give or take a tenth, in milliseconds; unlimited if unset. */
  maxConnectionAgeMs?: number
}

const tooMuchUnread = 'The response found no room beside those that were not read yet. Read the pending responses, then try again.'

/** grpc-js has no limit of its own; Node resets streams with more than 64 KiB of headers. */
const maxMetadataBytes = 16 * 1024

function bytesOf(metadata: Metadata): number {
  let bytes = 0
  const headers = metadata.toHttp2Headers()
  for (const name in headers) bytes += name.length + String(headers[name]).length
  return bytes
}

/** The proven identity of the caller. */
interface Peer {
  name?: string | undefined
  /** Further credentials, for the policy to verify. */
  token?: string | undefined
  /** Over mTLS, why there is no name. */
  refusal?: MeshError
}

const uuid = /^[0-9a-fA-F-]{36}$/

function headerOf({ metadata }: ServerUnaryCall<Buffer, Uint8Array>, name: string): string | undefined {
  const value = metadata.get(name)[0]
  return typeof value === 'string' ? value : undefined
}

const startOf = methodSpan('server')

export class GrpcServer {
  /** Maximum time of any call, by the contracts, in milliseconds. */
  readonly maxCallMs: number
  readonly #server: Server
  readonly #parts: ServerParts
  readonly #interceptors: readonly Interceptor[]
  readonly #draining = new AbortController()
  readonly #streams = new ServerStreams()
  #listener: TlsListener | undefined

  constructor(parts: ServerParts) {
    this.#parts = parts
    const help = 'Bytes of requests and responses in flight on gRPC streams'
    parts.metrics.gauge('grpc_server_bytes_in_flight', help, [], (gauge) => gauge.set(this.#streams.total))
    const methods = parts.services.flatMap(({ definition }) => Object.values(definition).map(({ path }) => methodOf(path)))
    this.maxCallMs = Math.max(...methods.map(({ deadlineMs }) => deadlineMs))
    this.#server = new Server(serverOptions(this.maxCallMs, parts.maxConnectionAgeMs))
    this.#interceptors = interceptors({ ...parts, methods })
    for (const { definition, handlers } of parts.services) this.#add(definition, handlers)
    const names = parts.services.map(({ definition }) => Object.values(definition)[0]!.path.split('/')[1]!)
    const { signal } = this.#draining
    const own = [healthHandlers(parts.health, signal), ...reflectionHandlers(names, signal)]
    for (const { definition, implementation } of own) {
      this.#server.addService(definition, parts.tls?.guard(implementation) ?? implementation)
    }
  }

  /** The port that it listens on. */
  async listen(address: ListenAddress): Promise<number> {
    const { tls, log } = this.#parts
    if (tls !== undefined) {
      // The TLS is ours: that of grpc-js accepts all TLS versions, and asks OpenSSL for the peer's certificate at every call.
      const connections = this.#server.createConnectionInjector(ServerCredentials.createInsecure())
      this.#listener = await tls.listen(address, { accept: (socket) => connections.injectConnection(socket), log })
      this.#streams.follow(this.#listener.port)
      return this.#listener.port
    }
    const port = await new Promise<number>((resolve, reject) =>
      this.#server.bindAsync(formatAddress(address), ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      ),
    )
    this.#streams.follow(port)
    return port
  }

  /** Accepts no new calls and lets those in progress finish. Calls that take too long are cut, and the result is false. */
  async drain(timeoutMs: number): Promise<boolean> {
    this.#parts.health.drain()
    this.#draining.abort()
    this.#listener?.close()
    let timer: NodeJS.Timeout | undefined
    const finished = await new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), timeoutMs)
      this.#server.tryShutdown(() => resolve(true))
    })
    clearTimeout(timer)
    if (!finished) this.#server.forceShutdown()
    this.#streams.stop()
    return finished
  }

  #add(definition: ServiceDefinition, handlers: BoundServer['handlers']): void {
    const raw: Record<string, ServiceDefinition[string]> = {}
    const implementation: Record<string, (call: ServerUnaryCall<Buffer, Uint8Array>, reply: sendUnaryData<Uint8Array>) => void> = {}
    for (const [name, rpc] of Object.entries(definition)) {
      if (rpc.requestStream || rpc.responseStream) throw new Error(`${rpc.path} streams: the interceptors know only unary calls`)
      const method = methodOf(rpc.path)
      const handler = handlers[name]
      if (handler === undefined) throw new Error(`${rpc.path} has no handler`)
      // Bytes in, bytes out: requests are decoded behind the policy, where a failure becomes a proper response.
      raw[name] = { ...rpc, requestDeserialize: (bytes: Buffer) => bytes, responseSerialize: (bytes: Uint8Array) => bytes as Buffer }
      implementation[name] = (call, reply) =>
        void this.#handle(method, call, reply, async (context) => {
          let request: never
          try {
            request = rpc.requestDeserialize(call.request) as never
          } catch (cause) {
            throw malformed(cause)
          }
          const response = await handler(request, context)
          return response instanceof Uint8Array ? response : rpc.responseSerialize(response)
        })
    }
    this.#server.addService(raw, implementation)
  }

  async #handle(
    method: Method,
    grpcCall: ServerUnaryCall<Buffer, Uint8Array>,
    reply: sendUnaryData<Uint8Array>,
    handle: (call: Call) => Promise<Uint8Array>,
  ): Promise<void> {
    const trailer = new Metadata()
    const end = new AbortController()
    const shownBy = this.#peerOf(grpcCall)
    const peer = shownBy instanceof Promise ? await shownBy : shownBy
    const stream = streamOf(grpcCall)
    const onEnd: Call['onEnd'] = (ended) => void (stream.destroyed ? ended() : stream.once('close', ended))
    const { call, work } = this.#open(method, grpcCall, peer, {
      signal: end.signal,
      onEnd,
      reply: (name, value) => trailer.set(name, value),
    })
    let answered = false
    let timer = setTimeout(
      () => {
        end.abort()
        // A response that its client has not read by then is dropped.
        timer = setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), graceMs)
      },
      Math.max(0, call.deadline - Date.now()),
    )
    onEnd(() => clearTimeout(timer))
    if (grpcCall.cancelled) end.abort()
    // grpc-js reports this for every call, including those that ended well.
    grpcCall.on('cancelled', () => {
      if (!answered) end.abort()
    })
    const bytes = this.#streams.of(stream)
    // It may be compressed.
    const hasRoom = bytes?.tryHold(grpcCall.request.length) === true
    const refusal = this.#refusalOf(grpcCall, peer, hasRoom)
    // A rejected call is still observed.
    const passed = refusal === undefined ? this.#interceptors : [this.#interceptors[0]!, () => Promise.reject(refusal)]
    const respond = async () => {
      const response = await handle(call)
      // A completed call is reported in any case.
      if (!method.readOnly) bytes?.hold(response.length)
      else if (bytes?.tryHold(response.length) === false) throw meshErrors.OVERLOADED({ message: tooMuchUnread, retryAfterMs })
      return response
    }
    try {
      reply(null, await runInScope({ work, trace: call.trace }, () => chain(passed, call, respond)), trailer)
    } catch (error) {
      bytes?.hold(0)
      const failed = toStatus(error instanceof MeshError ? error : meshErrors.INTERNAL({ cause: error }))
      if (error === refusal) failed.metadata?.set(key.unprocessed, '1')
      reply(failed)
    } finally {
      answered = true
    }
  }

  /** Why a call is rejected before any work. */
  #refusalOf({ metadata }: ServerUnaryCall<Buffer, Uint8Array>, { refusal }: Peer, hasRoom: boolean): MeshError | undefined {
    if (this.#draining.signal.aborted) return meshErrors.SHUTTING_DOWN()
    if (bytesOf(metadata) > maxMetadataBytes) return meshErrors.INVALID_REQUEST({ message: 'Call metadata must not exceed 16 KiB.' })
    return hasRoom ? refusal : meshErrors.OVERLOADED({ retryAfterMs })
  }

  /** The calling service: over mTLS by its certificate, otherwise by its token. An invalid token is left to the policy. */
  #peerOf(grpcCall: ServerUnaryCall<Buffer, Uint8Array>): Peer | Promise<Peer> {
    const { tls, verifier } = this.#parts
    const token = headerOf(grpcCall, key.peer)
    try {
      if (tls !== undefined) return { name: tls.peerOf(grpcCall), token }
      const found = token === undefined ? undefined : verifier.peer(token)
      const proven = (name: string | undefined): Peer => (name === undefined ? { token } : { name })
      return found instanceof Promise ? found.then(proven, () => ({ token })) : proven(found)
    } catch (error) {
      return tls === undefined ? { token } : { refusal: error as MeshError }
    }
  }

  /** Only a proven service is trusted to say what a call is part of. */
  #open(
    method: Method,
    grpcCall: ServerUnaryCall<Buffer, Uint8Array>,
    { name: peer, token: peerToken }: Peer,
    toCaller: Pick<Call, 'signal' | 'onEnd' | 'reply'>,
  ): { call: Call; work: Work } {
    const header = (name: string) => headerOf(grpcCall, name)
    const given = header(key.requestId)
    const requestId = given !== undefined && uuid.test(given) ? given : randomUUID()
    const isBelieved = peer !== undefined && isService(peer)
    const { trace, span } = startServerSpan(startOf(method), parseTraceparent(header(key.traceparent)), isBelieved)
    const run = isBelieved ? header(key.run) : undefined
    const work = { requestId, ...(run !== undefined && uuid.test(run) && { runId: run }) }
    const asked = Number(grpcCall.getDeadline())
    const limit = Date.now() + method.deadlineMs
    const relayed = header(key.source)
    // Now: a closed connection has no address, and work may continue after its call.
    const connectedFrom = sourceOf(grpcCall.getPeer())
    const call: Call = {
      method,
      requestId,
      trace,
      span,
      callerToken: bearerToken(header(key.authorization)),
      // No call may hold resources for longer than its contract says, however long the caller would wait.
      deadline: Number.isFinite(asked) ? Math.min(asked, limit) : limit,
      caller: undefined,
      peerToken,
      peer,
      get source() {
        return this.peer !== undefined && isService(this.peer) && relayed !== undefined ? parseSource(relayed) : connectedFrom
      },
      request: grpcCall.request,
      ...toCaller,
    }
    return { call, work }
  }
}
