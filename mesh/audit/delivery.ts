/** Delivers events to the audit log. An event that the log will never accept does not block the others. */
import { MeshError } from '../errors.ts'
import type { AuditEvent } from './event.ts'

/** Appends events to the audit log, each once by its id. INVALID_ARGUMENT: one of them is invalid, and none was appended. */
export type Append = (events: readonly AuditEvent[]) => Promise<void>

/** Maximum events per call of `Append`. */
export const maxConcurrency = 200

export interface RejectedEvent {
  readonly event: AuditEvent
  readonly error: MeshError
}

/**
 * Sends events. Resolves to those that were rejected as invalid, each of which was sent alone. Throws if the log is unavailable: any of the
 * events may have been appended then, and all must be sent again.
 */
export async function deliver(events: readonly AuditEvent[], append: Append): Promise<RejectedEvent[]> {
  if (events.length === 0) return []
  try {
    await append(events)
    return []
  } catch (error) {
    if (!(error instanceof MeshError) || error.code !== 'INVALID_ARGUMENT') throw error
    if (events.length === 1) return [{ event: events[0]!, error }]
    const middle = Math.ceil(events.length / 2)
    const first = await deliver(events.slice(0, middle), append)
    return [...first, ...(await deliver(events.slice(middle), append))]
  }
}
