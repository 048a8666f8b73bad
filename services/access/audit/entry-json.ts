/** An entry as a line of an export: the JSON of relay.access.v1.AuditEntry, with every field, in the contract's order. Pure. */
import type { Entry } from './chain.ts'

/** Includes its line feed. */
export const entryLine = (entry: Entry): string =>
  `${JSON.stringify({
    sequence: entry.sequence,
    event_id: entry.eventId,
    occurred_at: entry.occurredAt,
    recorded_at: entry.recordedAt,
    service: entry.service,
    action: entry.action,
    outcome: entry.outcome,
    reason: entry.reason,
    actor: entry.actor,
    key_id: entry.keyId,
    targets: entry.targets,
    request_id: entry.requestId,
    trace_id: entry.traceId,
    source: entry.source,
    count: entry.count,
    mac: entry.mac.toString('hex'),
  })}\n`
