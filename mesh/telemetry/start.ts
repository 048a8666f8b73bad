/**
 * Loaded first, by `node --import ./mesh/telemetry/start.ts`. If traces are to be recorded, it loads OpenTelemetry and prepares it for
 * `run` (mesh/serve.ts); otherwise none of it is loaded.
 */
import { ConfigError, readConfig } from '../config.ts'
import { offerRecording } from './tracer-handle.ts'
import { ratioOf, telemetryVariables, tracesUrl } from './variables.ts'

/** Only the one in use: each takes memory. */
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
  // The process reports it, with all other problems.
  if (!(error instanceof ConfigError)) throw error
}
