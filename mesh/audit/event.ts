/**
 * What the audit log is told: one act, or a refusal. An acting service writes its events in the transaction of the act itself, into its own
 * outbox (outbox.ts); access chains them. Nothing here may hold a secret, a body or what a person wrote: ids, names from closed sets, times.
 */
import { randomUUID } from 'node:crypto'

export type AuditOutcome = 'success' | 'failed' | 'unknown' | 'refused'

/** The words of relay.access.v1.AuditEvent. */
export interface AuditEvent {
  /** A UUID: an event that is told twice is taken once. */
  readonly eventId: string
  /** Empty where it is not known whose it is. */
  readonly workspace: string
  /** RFC 3339, UTC, with milliseconds. */
  readonly occurredAt: string
  /** The service that acted. */
  readonly service: string
  /** e.g. "actions.execute"; a closed set a service. */
  readonly action: string
  readonly outcome: AuditOutcome
  /** A reason of a closed table; empty where there is none. */
  readonly reason: string
  readonly actor: string
  readonly keyId: string
  /** `kind:id`, e.g. "run:3a033cc1-…". */
  readonly targets: readonly string[]
  readonly requestId: string
  readonly traceId: string
  /** The address that it was asked from. */
  readonly source: string
  /** How many it stands for. */
  readonly count: number
}

/** Who asked, as far as it is known. */
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

/** An event that happens now. */
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
/** Of one event as JSON; two hundred of them stay under what one gRPC message may have. */
const maxCharacters = 4096

/** An event as it was written into an outbox, from its JSON. Undefined for anything else. */
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
