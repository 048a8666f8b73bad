/**
 * Loaded before everything else, by `node --import ./mesh/telemetry/start.ts`: where traces are to be recorded it loads OpenTelemetry and has
 * it ready for `run` (mesh/serve.ts); where not, none of it is loaded.
 */
import { ConfigError, readConfig } from '../config.ts'
import { offerRecording } from './tracer-handle.ts'
import { ratioOf, telemetryVariables, tracesUrl } from './variables.ts'

/** Only the one that is used: each takes memory. */
const exporterFor = (protocol: 'http/protobuf' | 'http/json') =>
  protocol === 'http/json' ? import('@opentelemetry/exporter-trace-otlp-http') : import('@opentelemetry/exporter-trace-otlp-proto')

try {
  const config = readConfig(telemetryVariables)
  const url = tracesUrl(config)
  if (url !== undefined) {
    const [{ openTelemetry }, { OTLPTraceExporter }] = await Promise.all([import('./open-telemetry.ts'), exporterFor(config.otlpProtocol)])
    offerRecording((about) => {
      const exporter = new OTLPTraceExporter({ url, timeoutMillis: config.otlpTimeoutMs })
      return openTelemetry({ ...about, ...config, exporter, sampleRatio: ratioOf(config) })
    })
  }
} catch (error) {
  // The process says it itself, with all else that is wrong.
  if (!(error instanceof ConfigError)) throw error
}
