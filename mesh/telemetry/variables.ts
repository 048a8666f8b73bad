/** What every process reads about its telemetry. */
import { type Config, type Variable, choice, flag, optional, text, url } from '../config.ts'

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

export const telemetryVariables = {
  logLevel: choice('LOG_LEVEL', 'The least that is logged', logLevels, { default: 'info' }),
  telemetry: flag('TELEMETRY_ENABLED', 'false: no traces, and nothing of OpenTelemetry is loaded', { default: 'true' }),
  telemetryBackend: choice('TELEMETRY_BACKEND', 'How metrics are served', ['prom'], { default: 'prom' }),
  tracesTo: optional(
    url('OTEL_EXPORTER_OTLP_ENDPOINT', 'Where traces are sent by OTLP/HTTP, e.g. http://tempo:4318; no traces where it is unset', [
      'http',
      'https',
    ]),
  ),
  resourceAttributes: text(
    'OTEL_RESOURCE_ATTRIBUTES',
    'Further attributes of this process in traces, key=value,…; its service.instance.id is also in log lines and metrics',
    { default: '' },
  ),
  traceSampleRatio: sampleRatio('OTEL_TRACES_SAMPLER_ARG', 'The share of traces that is recorded, 0 to 1; decided where a trace begins', {
    default: '1',
  }),
}

export const recordsTraces = ({ telemetry, tracesTo }: Pick<Config<typeof telemetryVariables>, 'telemetry' | 'tracesTo'>): boolean =>
  telemetry && tracesTo !== undefined
