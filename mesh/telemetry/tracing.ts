/**
 * Spans at Relay's own seams. Nothing here knows OpenTelemetry: `start.ts`, loaded by `node --import`, sets the tracer. Without one, and in
 * traces that are not sampled, no span is created.
 *
 * Whether a trace is recorded is decided where it begins, by its id alone, so that a second decision is the same (the consistent
 * probability of https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/).
 */
import { type Work, currentScope, runInScope } from './scope.ts'
import { type TraceContext, newTrace } from './trace-context.ts'

export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>

export interface SpanStart {
  name: string
  kind: 'server' | 'client' | 'internal'
  attributes?: Attributes
  /** Other traces that it relates to. */
  links?: readonly TraceContext[]
}

export interface Span {
  /** The parent context of its children. */
  readonly trace: TraceContext
  set(attributes: Attributes): void
  /** Marks it as failed, with a word from a closed set: a status, a reason, a code. The first one counts. */
  fail(type: string): void
  end(): void
}

export interface Tracer {
  /** A child of `parent`. */
  child(start: SpanStart, parent: TraceContext): Span
  /** The first span of a trace, with the trace's own ids. */
  root(start: SpanStart, trace: TraceContext): Span
}

let recorder: Tracer | undefined
let sampleRatio = 0

/** From now on this share (0 to 1) of new traces is recorded, and every incoming recorded one. */
export function setTracer(by: Tracer | undefined, rootSampleRatio = 1): void {
  recorder = by
  sampleRatio = rootSampleRatio
}

/** Whether a share of all traces includes this one: by the highest 52 of its last 56 bits, which are random. */
export const isSampled = (traceId: string, sampleRatio: number): boolean =>
  sampleRatio >= 1 || (sampleRatio > 0 && Number.parseInt(traceId.slice(18, 31), 16) >= (1 - sampleRatio) * 2 ** 52)

/** A span of a recorded trace. */
export function startSpan(start: SpanStart, parent: TraceContext): Span | undefined {
  return parent.sampled ? recorder?.child(start, parent) : undefined
}

/** Whether a span would be created: expensive attributes are collected only then. */
export const isRecorded = (trace: TraceContext): boolean => trace.sampled && recorder !== undefined

export interface ServerSpan {
  trace: TraceContext
  span: Span | undefined
}

/** A new trace. */
export function beginTrace(start: SpanStart): ServerSpan {
  const trace = newTrace()
  if (recorder === undefined || !isSampled(trace.traceId, sampleRatio)) return { trace, span: undefined }
  trace.sampled = true
  return { trace, span: recorder.root(start, trace) }
}

/** The start of an incoming call: continues its caller's trace if that is trusted, or begins a new one with a link to it. */
export function startServerSpan(start: SpanStart, inbound: TraceContext | undefined, believed: boolean): ServerSpan {
  if (inbound === undefined) return beginTrace(start)
  if (!believed) return beginTrace({ ...start, links: [inbound] })
  const span = startSpan(start, inbound)
  return { trace: span?.trace ?? inbound, span }
}

/** The error in one word: our reason, a driver's code, or the error's name. Never its message. */
export function errorType(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown'
  if ('reason' in error && typeof error.reason === 'string') return error.reason
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name
}

/** What the first span of a process says about the work; unknown attributes are absent. */
export const workAttributes = ({ requestId, workspace, runId, replayed }: Work): Attributes => ({
  'relay.request_id': requestId,
  'relay.workspace_id': workspace,
  'relay.run_id': runId,
  'relay.replayed': replayed,
})

/** Does a part of the current work, with its own span. */
export function withSpan<T>(start: SpanStart, work: (span: Span | undefined) => Promise<T>): Promise<T> {
  const scope = currentScope()
  const span = scope === undefined ? undefined : startSpan(start, scope.trace)
  if (span === undefined) return work(undefined)
  return ending(span, () => runInScope({ work: scope!.work, trace: span.trace }, () => work(span)))
}

/** Does work that no caller waits for, with its own trace. */
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
