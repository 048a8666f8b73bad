/**
 * The rules for an event in addition to the contract: only ids and names of closed sets, so that it cannot hold free text or a secret.
 * Pure.
 */
import type { AuditEvent } from '#mesh/audit/event.ts'
import { type FieldViolation, meshErrors } from '#mesh/errors.ts'
import { parseTime } from '#mesh/rfc3339.ts'
import { isUuid } from '#mesh/uuid.ts'

/** Excludes control characters and lone surrogates, which no store keeps as they are. */
const name = /^[^\p{Cc}\p{Cs}]{0,128}$/u

const forms: { readonly [Field in keyof AuditEvent]: { readonly is: (value: AuditEvent[Field]) => boolean; readonly rule: string } } = {
  eventId: { is: (value) => isUuid(value), rule: 'must be a UUID' },
  workspace: { is: (value) => name.test(value), rule: 'must have at most 128 characters, none of them a control character' },
  occurredAt: { is: isTime, rule: 'must be a time from 1970 on, as 2026-01-31T12:00:00.000Z' },
  service: { is: (value) => /^[a-z][a-z0-9-]{0,31}$/.test(value), rule: 'must be the name of a service' },
  action: { is: (value) => /^[a-z][a-z0-9_.]{0,63}$/.test(value), rule: 'must be the name of an action' },
  outcome: { is: (value) => /^(?:success|failed|unknown|refused)$/.test(value), rule: 'must be an outcome' },
  reason: { is: (value) => /^[A-Z0-9_]{0,64}$/.test(value), rule: 'must be in capitals' },
  actor: { is: (value) => name.test(value), rule: 'must have at most 128 characters, none of them a control character' },
  keyId: { is: (value) => /^[\w:.-]{0,64}$/.test(value), rule: 'must be the id of a key' },
  targets: {
    is: (value) => value.length <= 16 && value.every((target) => /^[a-z][a-z0-9_-]{0,31}:[\w:.@/-]{1,160}$/.test(target)),
    rule: 'must be at most 16 values of the form kind:id',
  },
  requestId: { is: (value) => /^[\w-]{0,64}$/.test(value), rule: 'must be an id' },
  traceId: { is: (value) => /^[0-9a-f]{0,32}$/.test(value), rule: 'must be an id in lower-case hex' },
  source: { is: (value) => /^[\w:.%-]{0,64}$/.test(value), rule: 'must be an address' },
  count: { is: (value) => Number.isInteger(value) && value >= 1 && value <= 0xffffffff, rule: 'must be a whole number from 1 on' },
}

function isTime(text: string): boolean {
  const time = parseTime(text)
  return time !== undefined && time.getTime() >= 0 && time.toISOString() === text
}

/** The violations of an event, by field; empty if it is valid. */
export function violationsOf(event: AuditEvent): FieldViolation[] {
  return (Object.keys(forms) as (keyof AuditEvent)[]).flatMap((field) => {
    const { is, rule } = forms[field] as { is: (value: unknown) => boolean; rule: string }
    return is(event[field]) ? [] : [{ field: wireName(field), description: rule }]
  })
}

const wireName = (field: string): string => field.replace(/[A-Z]/g, (capital) => `_${capital.toLowerCase()}`)

/** The events in the one spelling in which they are chained and compared. Throws INVALID_REQUEST if one is invalid. */
export function wellFormed(events: readonly AuditEvent[]): AuditEvent[] {
  const violations = events.flatMap((event, index) =>
    violationsOf(event).map(({ field, description }) => ({ field: `events[${index}].${field}`, description })),
  )
  if (violations.length > 0) throw meshErrors.INVALID_REQUEST({ violations: violations.slice(0, 20) })
  return events.map((event) => ({ ...event, eventId: event.eventId.toLowerCase() }))
}
