/**
 * Loaded before everything else, by `node --import ./mesh/telemetry/start.ts`: where traces are to be recorded it loads OpenTelemetry and has
 * it ready for `run` (mesh/serve.ts); where not, none of it is loaded.
 */
import { ConfigError, readConfig } from '../config.ts'
import { offerRecording } from './tracer-handle.ts'
import { recordsTraces, telemetryVariables } from './variables.ts'

try {
  const config = readConfig(telemetryVariables)
  if (recordsTraces(config)) {
    const { openTelemetry } = await import('./open-telemetry.ts')
    offerRecording((about) => openTelemetry({ ...about, endpoint: config.tracesTo!, sampleRatio: config.traceSampleRatio }))
  }
} catch (error) {
  // The process says it itself, with all else that is wrong.
  if (!(error instanceof ConfigError)) throw error
}
