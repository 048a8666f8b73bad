/** The telemetry variables of every process. */
import { type Config, type Variable, choice, flag, integer, list, optional, secret, text, url } from '../config.ts'

/** A number from 0 to 1. */
const sampleRatio = (name: string, doc: string, options: { default: string }): Variable<number> => ({
  ...text(name, doc, options),
  parse: (value = options.default) => {
    const number = /^(?:\d+(?:\.\d+)?|\.\d+)(?:e-\d{1,2})?$/i.test(value) ? Number(value) : Number.NaN
    if (!(number >= 0 && number <= 1)) throw new Error(`is ${JSON.stringify(value)}, not a number from 0 to 1`)
    return number
  },
})

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

/** OpenTelemetry's samplers, as supported here: the decision is made where a trace begins, and every service follows it. */
export const samplers = [
  'parentbased_traceidratio',
  'parentbased_always_on',
  'parentbased_always_off',
  'traceidratio',
  'always_on',
  'always_off',
] as const

export const detectors = ['env', 'host', 'os', 'process'] as const

/** https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/, as far as traces go. */
const openTelemetryVariables = {
  sdkDisabled: flag('OTEL_SDK_DISABLED', 'true: as TELEMETRY_ENABLED=false'),
  tracesExporter: choice('OTEL_TRACES_EXPORTER', 'How traces leave the process', ['otlp', 'none'], { default: 'otlp' }),
  otlpEndpoint: optional(
    url('OTEL_EXPORTER_OTLP_ENDPOINT', 'Base URL of the OTLP/HTTP receiver, e.g. http://tempo:4318; no traces if unset', ['http', 'https']),
  ),
  otlpTracesEndpoint: optional(
    url('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'Full URL for traces, instead of the base URL with /v1/traces', ['http', 'https']),
  ),
  otlpProtocol: choice('OTEL_EXPORTER_OTLP_PROTOCOL', 'Encoding of OTLP', ['http/protobuf', 'http/json'], { default: 'http/protobuf' }),
  // OpenTelemetry's exporter reads the next three itself, and those for TLS (OTEL_EXPORTER_OTLP_CERTIFICATE, …).
  otlpHeaders: optional(secret('OTEL_EXPORTER_OTLP_HEADERS', 'Headers of each export, key=value,…')),
  otlpCompression: choice('OTEL_EXPORTER_OTLP_COMPRESSION', 'Compression of each export', ['none', 'gzip'], { default: 'none' }),
  otlpTimeoutMs: integer('OTEL_EXPORTER_OTLP_TIMEOUT', 'Timeout of one export, in milliseconds', { default: '5000', min: 1, max: 60_000 }),
  serviceName: optional(text('OTEL_SERVICE_NAME', 'service.name in traces, instead of the name of the service')),
  resourceAttributes: text(
    'OTEL_RESOURCE_ATTRIBUTES',
    'Further attributes of this process in traces, key=value,…; its service.instance.id is also in log lines and metrics',
    { default: '' },
  ),
  resourceDetectors: list('OTEL_NODE_RESOURCE_DETECTORS', `Sources of further attributes: ${detectors.join(', ')}`, { default: 'env' }),
  sampler: choice('OTEL_TRACES_SAMPLER', 'How it is decided, where a trace begins, whether to record it', samplers, {
    default: 'parentbased_traceidratio',
  }),
  samplerRatio: sampleRatio('OTEL_TRACES_SAMPLER_ARG', 'The share of traces that a sampler with a ratio records, 0 to 1', { default: '1' }),
  maxQueueSize: integer('OTEL_BSP_MAX_QUEUE_SIZE', 'Maximum spans that wait for export; about 2 KB each', {
    default: '4096',
    min: 1,
    max: 100_000,
  }),
  maxBatchSize: integer('OTEL_BSP_MAX_EXPORT_BATCH_SIZE', 'Maximum spans per export', { default: '512', min: 1, max: 10_000 }),
  exportIntervalMs: integer('OTEL_BSP_SCHEDULE_DELAY', 'Interval between exports, in milliseconds', {
    default: '1000',
    min: 1,
    max: 60_000,
  }),
  maxAttributeLength: integer('OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT', 'Maximum characters of an attribute in a span', {
    default: '512',
    min: 1,
    max: 65_536,
  }),
}

export const telemetryVariables = {
  ...openTelemetryVariables,
  logLevel: choice('LOG_LEVEL', 'Minimum log level', logLevels, { default: 'info' }),
  telemetry: flag('TELEMETRY_ENABLED', 'false: no traces, and nothing of OpenTelemetry is loaded', { default: 'true' }),
  telemetryBackend: choice('TELEMETRY_BACKEND', 'How metrics are served', ['prom'], { default: 'prom' }),
}

type TelemetryConfig = Config<typeof telemetryVariables>

/** Where traces are sent; undefined if nothing is recorded. */
export function tracesUrl(
  config: Pick<TelemetryConfig, 'telemetry' | 'sdkDisabled' | 'tracesExporter' | 'otlpEndpoint' | 'otlpTracesEndpoint'>,
) {
  if (!config.telemetry || config.sdkDisabled || config.tracesExporter === 'none') return undefined
  const base = config.otlpEndpoint
  return config.otlpTracesEndpoint?.href ?? (base && `${base.href.replace(/\/$/, '')}/v1/traces`)
}

/** The share of new traces that is recorded, 0 to 1. */
export function ratioOf({ sampler, samplerRatio }: Pick<TelemetryConfig, 'sampler' | 'samplerRatio'>): number {
  if (sampler.endsWith('always_on')) return 1
  return sampler.endsWith('always_off') ? 0 : samplerRatio
}
