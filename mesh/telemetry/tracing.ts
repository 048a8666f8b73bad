/**
 * Spans, where Relay's own seams are. Nothing here knows OpenTelemetry: `start.ts`, loaded by `node --import`, puts a recorder behind it.
 * Without one, and in traces that are not sampled, no span is made at all.
 *
 * Whether a trace is recorded is decided where it begins: by its id alone, so that whoever decides anew decides the same (the consistent
 * probability of https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/).
 */
import { type Work, currentScope, runInScope } from './scope.ts'
import { type TraceContext, newTrace } from './trace-context.ts'

export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>

export interface SpanStart {
  name: string
  kind: 'server' | 'client' | 'internal'
  attributes?: Attributes
  /** Other traces that it has to do with. */
  links?: readonly TraceContext[]
}

export interface Span {
  /** What its children are children of. */
  readonly trace: TraceContext
  set(attributes: Attributes): void
  /** Marks it as failed, by a word of few: a status, a reason, a code. The first one stands. */
  fail(type: string): void
  end(): void
}

export interface Tracer {
  /** A child of `parent`. */
  child(start: SpanStart, parent: TraceContext): Span
  /** The first span of a trace, with the very ids of it. */
  root(start: SpanStart, trace: TraceContext): Span
}

let recorder: Tracer | undefined
let sampleRatio = 0

/** From now on this share (0 to 1) of the traces that begin here is recorded, and every one that comes in recorded. */
export function setTracer(by: Tracer | undefined, rootSampleRatio = 1): void {
  recorder = by
  sampleRatio = rootSampleRatio
}

/** Whether the traces of a share of all are to hold this one: by the highest 52 of its last 56 bits, which are random. */
export const isSampled = (traceId: string, sampleRatio: number): boolean =>
  sampleRatio >= 1 || (sampleRatio > 0 && Number.parseInt(traceId.slice(18, 31), 16) >= (1 - sampleRatio) * 2 ** 52)

/** A span of a trace that is recorded. */
export function startSpan(start: SpanStart, parent: TraceContext): Span | undefined {
  return parent.sampled ? recorder?.child(start, parent) : undefined
}

/** Whether a span would be made: attributes that cost something are gathered only then. */
export const isRecorded = (trace: TraceContext): boolean => trace.sampled && recorder !== undefined

export interface ServerSpan {
  trace: TraceContext
  span: Span | undefined
}

/** A trace that begins here. */
export function beginTrace(start: SpanStart): ServerSpan {
  const trace = newTrace()
  if (recorder === undefined || !isSampled(trace.traceId, sampleRatio)) return { trace, span: undefined }
  trace.sampled = true
  return { trace, span: recorder.root(start, trace) }
}

/** Where a call comes in: its caller's trace goes on where it is to be believed; else one begins that is linked to it. */
export function startServerSpan(start: SpanStart, inbound: TraceContext | undefined, believed: boolean): ServerSpan {
  if (inbound === undefined) return beginTrace(start)
  if (!believed) return beginTrace({ ...start, links: [inbound] })
  const span = startSpan(start, inbound)
  return { trace: span?.trace ?? inbound, span }
}

/** What went wrong, in one word: a reason of ours, a driver's code, or the error's kind. Never its message. */
export function errorType(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown'
  if ('reason' in error && typeof error.reason === 'string') return error.reason
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name
}

/** What the first span of a process says of the work; what is not known is not said. */
export const workAttributes = ({ requestId, workspace, runId, replayed }: Work): Attributes => ({
  'relay.request_id': requestId,
  'relay.workspace_id': workspace,
  'relay.run_id': runId,
  'relay.replayed': replayed,
})

/** Does a part of the work under way, as a span of its own. */
export function withSpan<T>(start: SpanStart, work: (span: Span | undefined) => Promise<T>): Promise<T> {
  const scope = currentScope()
  const span = scope === undefined ? undefined : startSpan(start, scope.trace)
  if (span === undefined) return work(undefined)
  return ending(span, () => runInScope({ work: scope!.work, trace: span.trace }, () => work(span)))
}

/** Does work that nobody waits for, as a trace of its own. */
export function withRootSpan<T>(start: SpanStart, about: Work, work: (span: Span | undefined) => Promise<T>): Promise<T> {
  const { trace, span } = beginTrace(start)
  const inScope = () => runInScope({ work: about, trace }, () => work(span))
  return span === undefined ? inScope() : ending(span, inScope)
}

async function ending<T>(span: Span, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    span.fail(errorType(error))
    throw error
  } finally {
    span.end()
  }
}
