/** Keeps the spans of this process, in the place of OpenTelemetry, from `record(spans.recorder)` to `record(undefined)`. */
import { type TraceContext, newSpanId } from '#mesh/telemetry/trace-context.ts'
import type { Attributes, Tracer, Span, SpanStart } from '#mesh/telemetry/tracing.ts'

export interface RecordedSpan {
  start: SpanStart
  trace: TraceContext
  /** The span that it is a child of; undefined for the first of a trace. */
  parent: TraceContext | undefined
  attributes: Record<string, Attributes[string]>
  /** By which word it failed. */
  failed: string | undefined
  ends: number
}

export class SpanRecorder {
  readonly kept: RecordedSpan[] = []
  readonly recorder: Tracer = {
    child: (start, parent) => this.#keep(start, { ...parent, spanId: newSpanId() }, parent),
    root: (start, trace) => this.#keep(start, trace, undefined),
  }

  /** The one of this name. */
  named(name: string): RecordedSpan {
    const found = this.kept.filter(({ start }) => start.name === name)
    if (found.length === 1) return found[0]!
    throw new Error(`${found.length} spans are named ${name}; there are ${this.kept.map(({ start }) => start.name).join(', ')}`)
  }

  #keep(start: SpanStart, trace: TraceContext, parent: TraceContext | undefined): Span {
    const span: RecordedSpan = { start, trace, parent, attributes: { ...start.attributes }, failed: undefined, ends: 0 }
    this.kept.push(span)
    return {
      trace,
      set: (attributes) => void Object.assign(span.attributes, attributes),
      fail: (type) => void (span.failed = type),
      end: () => void (span.ends += 1),
    }
  }
}
