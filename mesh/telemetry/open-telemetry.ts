/**
 * OpenTelemetry behind `tracing.ts`: spans are collected and exported by OTLP/HTTP. A slow or unavailable receiver costs requests nothing:
 * spans that do not fit into the queue are dropped and counted.
 */
import {
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  type Context,
  type Link,
  type Span as OtelSpan,
  type SpanContext,
  trace as otel,
} from '@opentelemetry/api'
import {
  defaultResource,
  detectResources,
  envDetector,
  hostDetector,
  osDetector,
  processDetector,
  type ResourceDetector,
  resourceFromAttributes,
} from '@opentelemetry/resources'
import {
  AlwaysOnSampler,
  BatchSpanProcessor,
  type ReadableSpan,
  type SpanExporter,
  type SpanProcessor,
  TracerProvider,
} from '@opentelemetry/sdk-trace'
import { setTimeout as pause } from 'node:timers/promises'
import type { TracerHandle, TracerResource } from './tracer-handle.ts'
import { runDetached } from './scope.ts'
import { type TraceContext, newSpanId } from './trace-context.ts'
import { type Attributes, type Tracer, type Span, type SpanStart, setTracer } from './tracing.ts'

export interface OpenTelemetryParts extends TracerResource {
  exporter: SpanExporter
  /** The share of the traces that begin here, 0 to 1. */
  sampleRatio: number
  /** Names of detectors; unknown ones are ignored, as OpenTelemetry does. */
  resourceDetectors: readonly string[]
  /** Maximum spans that wait for export, and maximum spans per export. */
  maxQueueSize: number
  maxBatchSize: number
  exportIntervalMs: number
  /** The maximum time of one export, in milliseconds. */
  otlpTimeoutMs: number
  maxAttributeLength: number
}

const detectors: Readonly<Record<string, ResourceDetector>> = {
  env: envDetector,
  host: hostDetector,
  os: osDetector,
  process: processDetector,
}

const kinds = { server: SpanKind.SERVER, client: SpanKind.CLIENT, internal: SpanKind.INTERNAL }

export function openTelemetry(parts: OpenTelemetryParts): TracerHandle {
  const { service, version, environment, instance, exporter, sampleRatio } = parts
  const spans = parts.metrics.counter('otel_spans_total', 'Spans by export outcome', { outcome: outcomes })
  const counted = countedExport(exporter, (outcome, count) => spans.inc({ outcome }, count), parts)
  const resource = defaultResource()
    .merge(
      resourceFromAttributes({
        'service.name': service,
        'service.namespace': 'relay',
        'service.version': version,
        'deployment.environment.name': environment,
      }),
    )
    .merge(detectResources({ detectors: parts.resourceDetectors.flatMap((name) => detectors[name] ?? []) }))
    // The operator's own if set, and the same as in log lines and metrics.
    .merge(resourceFromAttributes({ 'service.instance.id': instance }))
  const ids = { traceId: '', spanId: '' }
  const provider = new TracerProvider({
    resource,
    // The decision was made before a span is requested.
    sampler: new AlwaysOnSampler(),
    idGenerator: { generateTraceId: () => ids.traceId, generateSpanId: () => ids.spanId },
    spanLimits: { attributeValueLengthLimit: parts.maxAttributeLength },
    spanProcessors: [counted],
  })
  const tracer = provider.getTracer('relay', version)
  const begin = ({ name, kind, attributes, links }: SpanStart, context: Context): OtelSpan =>
    tracer.startSpan(
      name,
      { kind: kinds[kind], attributes: { ...attributes }, startTime: timeNow(), ...(links && { links: links.map(linkTo) }) },
      context,
    )

  const recorder: Tracer = {
    child(start, parent) {
      ids.spanId = newSpanId()
      return new RecordedSpan(begin(start, otel.setSpanContext(ROOT_CONTEXT, contextOf(parent))), {
        traceId: parent.traceId,
        spanId: ids.spanId,
        sampled: true,
      })
    },
    root(start, trace) {
      Object.assign(ids, { traceId: trace.traceId, spanId: trace.spanId })
      return new RecordedSpan(begin(start, ROOT_CONTEXT), trace)
    },
  }
  setTracer(recorder, sampleRatio)
  return {
    async stop(timeoutMs) {
      setTracer(undefined)
      await Promise.race([provider.shutdown().catch(() => undefined), pause(timeoutMs, undefined, { ref: false })])
    },
  }
}

/**
 * The machine's clock with a finer resolution: without a time the SDK uses whole milliseconds, in which a hop fits. Seconds and nanoseconds
 * since 1970.
 */
function timeNow(): [number, number] {
  const now = performance.now()
  // The two clocks diverge when the machine sleeps, or its time is set.
  if (Math.abs(Date.now() - (offsetMs + now)) > 2) offsetMs = Date.now() - now
  const ms = offsetMs + now
  const seconds = Math.floor(ms / 1000)
  return [seconds, Math.floor((ms - seconds * 1000) * 1e6)]
}
let offsetMs = performance.timeOrigin

const contextOf = ({ traceId, spanId, sampled }: TraceContext): SpanContext => ({
  traceId,
  spanId,
  traceFlags: sampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
  isRemote: true,
})

const linkTo = (trace: TraceContext): Link => ({ context: contextOf(trace) })

class RecordedSpan implements Span {
  readonly trace: TraceContext
  readonly #span: OtelSpan
  #failed = false

  constructor(span: OtelSpan, trace: TraceContext) {
    this.#span = span
    this.trace = trace
  }

  set(attributes: Attributes): void {
    this.#span.setAttributes({ ...attributes })
  }

  fail(type: string): void {
    if (this.#failed) return
    this.#failed = true
    this.#span.setAttribute('error.type', type).setStatus({ code: SpanStatusCode.ERROR })
  }

  end(): void {
    this.#span.end(timeNow())
  }
}

/** Sent; dropped because the queue was full; lost because the receiver did not accept them. */
const outcomes = ['exported', 'queue_full', 'export_failed'] as const
type Outcome = (typeof outcomes)[number]

/** Exports in batches, and counts the outcome of each span. */
function countedExport(
  exporter: SpanExporter,
  count: (outcome: Outcome, spans: number) => void,
  { log, maxQueueSize, maxBatchSize, exportIntervalMs, otlpTimeoutMs }: OpenTelemetryParts,
): SpanProcessor {
  let waiting = 0
  let failing = false
  const counting: SpanExporter = {
    export(batch, done) {
      exporter.export(batch, (result) => {
        waiting -= batch.length
        const failed = result.error !== undefined || result.code !== 0
        count(failed ? 'export_failed' : 'exported', batch.length)
        // Logged once per outage.
        if (failed && !failing) log.warn({ err: result.error }, 'spans cannot be exported; their traces are lost meanwhile')
        if (!failed && failing) log.info({}, 'spans are exported again')
        failing = failed
        // Counted and logged here: the processor need not do it again.
        done({ code: 0 })
      })
    },
    shutdown: () => exporter.shutdown(),
    forceFlush: async () => exporter.forceFlush?.(),
  }
  const batches = new BatchSpanProcessor({
    exporter: counting,
    maxQueueSize,
    // The SDK rejects more than fits into the queue.
    maxExportBatchSize: Math.min(maxBatchSize, maxQueueSize),
    scheduledDelayMillis: exportIntervalMs,
    exportTimeoutMillis: 2 * otlpTimeoutMs,
  })
  return {
    onStart: () => undefined,
    // The end of a span starts the timer that sends all spans: neither that nor its log lines belong to the work of the span.
    onEnd: runDetached((span: ReadableSpan) => {
      if (waiting >= maxQueueSize) return count('queue_full', 1)
      waiting += 1
      batches.onEnd(span)
    }),
    forceFlush: () => batches.forceFlush(),
    shutdown: () => batches.shutdown(),
  }
}
