/**
 * An audit event: one act, or denials. The acting service writes it to its own outbox (outbox.ts) in the transaction of the act; access
 * chains it. An event contains no secret, body or free text: only ids, names from closed sets, and times.
 */
import { randomUUID } from 'node:crypto'

export type AuditOutcome = 'success' | 'failed' | 'unknown' | 'refused'

/** The fields of relay.access.v1.AuditEvent. */
export interface AuditEvent {
  /** A UUID: an event that is sent twice is appended once. */
  readonly eventId: string
  /** Empty if the workspace is unknown. */
  readonly workspace: string
  /** RFC 3339, UTC, with milliseconds. */
  readonly occurredAt: string
  /** The service that acted. */
  readonly service: string
  /** e.g. "actions.execute"; a closed set per service. */
  readonly action: string
  readonly outcome: AuditOutcome
  /** A reason from a closed table; empty without one. */
  readonly reason: string
  readonly actor: string
  readonly keyId: string
  /** `kind:id`, e.g. "run:3a033cc1-…". */
  readonly targets: readonly string[]
  readonly requestId: string
  readonly traceId: string
  /** The address of the request. */
  readonly source: string
  /** The number of occurrences that it stands for. */
  readonly count: number
}

/** The caller, as far as known. */
export interface Principal {
  readonly workspace: string
  readonly actor: string
  readonly keyId: string
  readonly requestId: string
  readonly traceId: string
  readonly source: string
}

export interface Act {
  readonly action: string
  readonly outcome: AuditOutcome
  readonly reason?: string | undefined
  readonly targets?: readonly string[]
}

/** An event with the current time. */
export function auditEvent(service: string, principal: Principal, act: Act, occurredAt: Date = new Date()): AuditEvent {
  const { workspace, actor, keyId, requestId, traceId, source } = principal
  const { action, outcome, reason = '', targets = [] } = act
  return {
    eventId: randomUUID(),
    workspace,
    occurredAt: occurredAt.toISOString(),
    service,
    action,
    outcome,
    reason,
    actor,
    keyId,
    targets,
    requestId,
    traceId,
    source,
    count: 1,
  }
}

const outcomes: readonly unknown[] = ['success', 'failed', 'unknown', 'refused'] satisfies AuditOutcome[]
const texts = [
  'eventId',
  'workspace',
  'occurredAt',
  'service',
  'action',
  'reason',
  'actor',
  'keyId',
  'requestId',
  'traceId',
  'source',
] as const satisfies readonly (keyof AuditEvent)[]
/** Maximum size of one event as JSON: two hundred of them fit into one gRPC message. */
const maxCharacters = 4096

/** An event from an outbox, parsed from its JSON. Undefined for anything else. */
export function readAuditEvent(json: string): AuditEvent | undefined {
  if (json.length > maxCharacters) return undefined
  let read: unknown
  try {
    read = JSON.parse(json)
  } catch {
    return undefined
  }
  if (typeof read !== 'object' || read === null) return undefined
  const fields = read as Record<string, unknown>
  const { count, targets, outcome } = fields
  if (!texts.every((name) => typeof fields[name] === 'string') || !outcomes.includes(outcome)) return undefined
  if (!Array.isArray(targets) || !targets.every((target) => typeof target === 'string')) return undefined
  if (typeof count !== 'number' || !Number.isInteger(count) || count < 1 || count > 0xffffffff) return undefined
  return { ...Object.fromEntries(texts.map((name) => [name, fields[name]])), outcome, targets, count } as unknown as AuditEvent
}
