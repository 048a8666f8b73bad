/**
 * Entries and statements as rows of Postgres. A row is read as it is, even if it was tampered with: an impossible value becomes one that
 * matches no MAC, never an exception.
 */
import type { AuditOutcome } from '#mesh/audit/event.ts'
import type { Entry, Statement } from './chain.ts'

/** Milliseconds since 1970, exactly and as text: a year before Christ, infinity and fractions of a millisecond stay visible. */
const milliseconds = (column: string): string => `trim_scale(extract(epoch FROM ${column}) * 1000)::text AS ${column}`

export const entryColumns = `workspace, sequence::float8 AS sequence, event_id, version,
  ${milliseconds('recorded_at')}, ${milliseconds('occurred_at')}, service, action, outcome, reason, actor, key_id,
  targets, request_id, trace_id, source, count::float8 AS count, mac`

export const statementColumns = `workspace, sequence::float8 AS sequence, mac, ${milliseconds('at')}, seal`

export interface EntryRow {
  workspace: string
  sequence: number
  event_id: string
  version: number
  recorded_at: string
  occurred_at: string
  service: string
  action: string
  outcome: string
  reason: string
  actor: string
  key_id: string
  targets: string[]
  request_id: string
  trace_id: string
  source: string
  count: number
  mac: Buffer | null
}

export interface StatementRow {
  workspace: string
  sequence: number
  mac: Buffer | null
  at: string
  seal: Buffer | null
}

const nothing = Buffer.alloc(0)

export const entryOf = (row: EntryRow): Entry => ({
  version: row.version,
  sequence: row.sequence,
  recordedAt: timeOf(row.recorded_at),
  eventId: row.event_id,
  workspace: row.workspace,
  occurredAt: timeOf(row.occurred_at),
  service: row.service,
  action: row.action,
  outcome: row.outcome as AuditOutcome,
  reason: row.reason,
  actor: row.actor,
  keyId: row.key_id,
  targets: row.targets,
  requestId: row.request_id,
  traceId: row.trace_id,
  source: row.source,
  count: row.count,
  mac: row.mac ?? nothing,
})

export const statementOf = ({ workspace, sequence, mac, at, seal }: StatementRow): Statement => ({
  workspace,
  sequence,
  mac: mac ?? nothing,
  at: timeOf(at),
  seal: seal ?? nothing,
})

/** The source of an entry's row, for json_to_recordset. */
export function insertedRow(entry: Entry): Record<string, unknown> {
  const { eventId, recordedAt, occurredAt, keyId, requestId, traceId, mac, ...same } = entry
  return {
    ...same,
    event_id: eventId,
    recorded_at: recordedAt,
    occurred_at: occurredAt,
    key_id: keyId,
    request_id: requestId,
    trace_id: traceId,
    mac: `\\x${mac.toString('hex')}`,
  }
}

/** The columns of `insertedRow` with their types. */
export const insertedColumns = `workspace text, sequence bigint, event_id uuid, version smallint,
  recorded_at timestamptz, occurred_at timestamptz, service text, action text, outcome text, reason text, actor text, key_id text,
  targets text[], request_id text, trace_id text, source text, count bigint, mac bytea`

/** The range of a Date is ±8.64e15 ms. */
const farthest = 8.64e15

function timeOf(text: string): string {
  const ms = Number(text)
  return Number.isInteger(ms) && Math.abs(ms) <= farthest ? new Date(ms).toISOString() : text
}
