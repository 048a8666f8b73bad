/** Between `start.ts`, which knows OpenTelemetry, and `run`, which knows the process. */
import type { Logger } from './log.ts'
import type { Metrics } from './metrics.ts'

export interface TracerResource {
  service: string
  version: string
  /** RELAY_ENV. */
  environment: string
  /** The id of this process among those of the service. */
  instance: string
  log: Logger
  metrics: Metrics
}

export interface TracerHandle {
  /** Sends the remaining spans, as far as possible within the timeout. Never fails. */
  stop(timeoutMs: number): Promise<void>
}

let offered: ((about: TracerResource) => TracerHandle) | undefined

export function offerRecording(open: (about: TracerResource) => TracerHandle): void {
  offered = open
}

/** Undefined if nothing is recorded. */
export const openRecording = (about: TracerResource): TracerHandle | undefined => offered?.(about)
