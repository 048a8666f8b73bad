/**
 * A receiver of traces over OTLP/HTTP (https://opentelemetry.io/docs/specs/otlp/#otlphttp) on loopback. It takes well-formed exports
 * alone, keeps what it took, and can be as useless as receivers get:
 *
 *   const receiver = await startOtlpReceiver()          // OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url
 *   await receiver.until(({ spans }) => spans.length > 0)
 *   receiver.trace(traceId)                              // its roots, with their children
 *   receiver.mode = 'silent'
 */
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { Malformed, type Span, spansIn } from './otlp-trace.ts'

export interface SpanNode extends Span {
  /** In the order in which they started. */
  children: SpanNode[]
}

/**
 * `take`: the answer follows at once. `slow`: it follows when `release` is called. `refuse`: 503, nothing is taken. `silent`: the request
 * is read and never answered.
 */
export type Mode = 'take' | 'slow' | 'refuse' | 'silent'

export interface OtlpReceiver {
  /** Without a trailing slash. */
  readonly url: string
  mode: Mode
  /** Each once, though it may have been sent again, in the order in which they came. */
  readonly spans: readonly Span[]
  /** The bodies of the exports that were taken, as they were before compression. */
  readonly bodies: readonly Buffer[]
  /** What was wrong with what was answered with 4xx. */
  readonly malformed: readonly string[]
  /** Requests that were read, whatever became of them. */
  readonly requests: number
  /** The spans of a trace that have no parent here, with those below them. A whole trace has one. */
  trace(traceId: string): SpanNode[]
  /** Resolves once it is so, which is looked at whenever something comes in; throws after `timeoutMs`. */
  until(good: (receiver: OtlpReceiver) => boolean, timeoutMs?: number): Promise<void>
  /** Answers what a slow one has held back so far. */
  release(): void
  /** The port is closed, and what was open is cut. */
  leave(): Promise<void>
  /** Listens on the same port again. */
  comeBack(): Promise<void>
  close(): Promise<void>
}

/** An export is smaller; what is not, is somebody's mistake. */
const largest = 8 * 1024 * 1024

class MalformedRequest extends Error {
  readonly status: number
  constructor(status: number, why: string) {
    super(why)
    this.status = status
  }
}

const unzip = promisify(gunzip)

async function exportIn(request: http.IncomingMessage): Promise<Buffer> {
  if (request.url !== '/v1/traces') throw new MalformedRequest(404, `nothing is at ${request.url}`)
  if (request.method !== 'POST') throw new MalformedRequest(405, `${request.method} exports nothing`)
  if (request.headers['content-type'] !== 'application/x-protobuf')
    throw new MalformedRequest(415, `it is ${request.headers['content-type']}`)
  const encoding = request.headers['content-encoding'] ?? 'identity'
  if (encoding !== 'identity' && encoding !== 'gzip') throw new MalformedRequest(415, `it is encoded as ${encoding}`)
  const body = Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>))
  if (encoding === 'identity') return body
  return unzip(body, { maxOutputLength: largest }).catch((cause: unknown) => {
    throw new Malformed('no gzip', { cause })
  })
}

export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const spans = new Map<string, Span>()
  const bodies: Buffer[] = []
  const malformed: string[] = []
  const held = new Set<() => void>()
  const waiting = new Set<() => void>()
  let requests = 0

  const look = (): void => {
    for (const each of waiting) each()
  }
  const answer = (response: http.ServerResponse, status: number): void => {
    // An empty ExportTraceServiceResponse: all was taken.
    response.writeHead(status, { 'content-type': 'application/x-protobuf' }).end()
  }
  const handle = async (request: http.IncomingMessage, response: http.ServerResponse): Promise<void> => {
    try {
      const body = await exportIn(request).finally(() => (requests += 1))
      const found = spansIn(body)
      if (receiver.mode === 'silent') return
      if (receiver.mode === 'refuse') return answer(response, 503)
      if (receiver.mode === 'slow') {
        const released = new Promise<void>((resolve) => held.add(resolve))
        look()
        await released
      }
      bodies.push(body)
      for (const span of found) spans.set(`${span.traceId} ${span.spanId}`, span)
      answer(response, 200)
    } catch (error) {
      if (!(error instanceof Malformed || error instanceof MalformedRequest)) throw error
      malformed.push(error.message)
      answer(response, error instanceof MalformedRequest ? error.status : 400)
    } finally {
      look()
    }
  }
  const listen = async (port: number): Promise<http.Server> => {
    // A connection that its client cuts is nothing to a receiver.
    const server = http.createServer((request, response) => void handle(request, response).catch(() => response.destroy()))
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return server
  }

  let server: http.Server | undefined = await listen(0)
  const { port } = server.address() as AddressInfo
  const leave = async (): Promise<void> => {
    const leaving = server
    server = undefined
    leaving?.closeAllConnections()
    leaving?.close()
    if (leaving !== undefined) await once(leaving, 'close')
  }
  const receiver: OtlpReceiver = {
    url: `http://127.0.0.1:${port}`,
    mode: 'take',
    get spans() {
      return [...spans.values()]
    },
    bodies,
    malformed,
    get requests() {
      return requests
    },
    trace: (traceId) => treesOf([...spans.values()].filter((span) => span.traceId === traceId)),
    until: (good, timeoutMs = 20_000) =>
      new Promise((resolve, reject) => {
        const check = (): void => {
          if (!good(receiver)) return
          clearTimeout(late)
          waiting.delete(check)
          resolve()
        }
        const late = setTimeout(() => {
          waiting.delete(check)
          const names = [...new Set([...spans.values()].map(({ service, name }) => `${service} ${name}`))]
          reject(new Error(`waited ${timeoutMs} ms in vain; ${requests} requests, ${spans.size} spans: ${names.slice(-40).join(', ')}`))
        }, timeoutMs)
        waiting.add(check)
        check()
      }),
    release: () => {
      for (const go of held) go()
      held.clear()
    },
    leave,
    comeBack: async () => {
      server ??= await listen(port)
    },
    close: leave,
  }
  return receiver
}

/** The SDK knows starts to the millisecond alone. What started within one stays as it came: a process sends its spans as they end. */
const byStart = (a: Span, b: Span): number => (a.start === b.start ? 0 : a.start < b.start ? -1 : 1)

/** The spans of one trace, each below its parent. */
export function treesOf(spans: readonly Span[]): SpanNode[] {
  const nodes = new Map(spans.toSorted(byStart).map((span): [string, SpanNode] => [span.spanId, { ...span, children: [] }]))
  const roots: SpanNode[] = []
  for (const node of nodes.values()) (nodes.get(node.parentId ?? '')?.children ?? roots).push(node)
  return roots
}
