/** Events for tests of what carries them. */
import { randomUUID } from 'node:crypto'
import { type Act, type Principal, type AuditEvent, auditEvent } from '#mesh/audit/event.ts'
import { meshErrors } from '#mesh/errors.ts'

export const principal: Principal = {
  workspace: 'acme',
  actor: 'ada',
  keyId: '3f1c1e52-3b52-4a39-9d0a-6a3c35a9a1f0',
  requestId: randomUUID(),
  traceId: 'a'.repeat(32),
  source: '192.0.2.7',
}

export const anEvent = (act: Partial<Act> = {}): AuditEvent =>
  auditEvent('actions', principal, { action: 'actions.preview', outcome: 'success', targets: ['preview:1'], ...act })

/** An audit log that takes each event once, by its id; that can be away, and that refuses what its contract does not allow. */
export class FakeLog {
  readonly taken = new Map<string, AuditEvent>()
  /** Ids in the order in which they came, repeated ones too. */
  readonly came: string[] = []
  calls = 0
  away = false

  readonly append = async (events: readonly AuditEvent[]): Promise<void> => {
    this.calls += 1
    if (this.away) throw meshErrors.DEPENDENCY_UNAVAILABLE()
    const violations = events.flatMap(({ action }, index) =>
      /^[a-z][a-z0-9_.]*$/.test(action) ? [] : [{ field: `events.${index}.action`, description: 'does not match' }],
    )
    if (violations.length > 0) throw meshErrors.INVALID_REQUEST({ violations })
    for (const event of events) {
      this.came.push(event.eventId)
      this.taken.set(event.eventId, event)
    }
  }
}
