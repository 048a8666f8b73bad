/** The way of events to the audit log, where one that it will never take does not hold up the others. */
import { MeshError } from '../errors.ts'
import type { AuditEvent } from './event.ts'

/** Takes events into the audit log, each once by its id. INVALID_ARGUMENT: one of them is none, and nothing was taken. */
export type Append = (events: readonly AuditEvent[]) => Promise<void>

/** What one call of `Append` carries at the most. */
export const maxConcurrency = 200

export interface RejectedEvent {
  readonly event: AuditEvent
  readonly error: MeshError
}

/**
 * Sends events; resolves to those that were refused for what they are, each of them sent alone. Throws where the log is away: any of the
 * events may have been taken then, and all are to be sent again.
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
