/** The rows of an outbox, in the table `audit_outbox` of the acting service's own database. */
import type { Database } from '../postgres/database.ts'
import { statementMaker } from '../postgres/statement.ts'
import type { AuditOutboxStore } from './outbox.ts'

/**
 * A row that is deferred for longer than this is a dead letter; every other delay is far shorter. The time is constant within the
 * statement, so that it bounds an index search.
 */
const deadLetterFrom = `(SELECT clock_timestamp() + interval '1 hour')`
/** Counts stop here: counting more rows would only be slower. */
export const maxCounted = 10_000

/** `prefix` is that of the service, for the names of its statements. */
export function auditOutboxStore(database: Database, prefix: string): AuditOutboxStore {
  const statement = statementMaker(`${prefix}.audit-outbox-`)
  const inMs = (parameter: string) => `clock_timestamp() + ${parameter} * interval '1 millisecond'`
  const take = statement(
    'take',
    `UPDATE audit_outbox SET attempts = attempts + 1, due_at = ${inMs('$2::float8')} WHERE event_id = ANY (ARRAY (
       SELECT event_id FROM audit_outbox WHERE due_at <= (SELECT clock_timestamp()) ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED))
     RETURNING event_id, event, attempts`,
  )
  const sent = statement('sent', `DELETE FROM audit_outbox WHERE event_id = ANY ($1::uuid[])`)
  const defer = statement('defer', `UPDATE audit_outbox SET due_at = ${inMs('$2::float8')} WHERE event_id = ANY ($1::uuid[])`)
  // The time of an event is in the event; without a valid one it counts as new.
  const backlog = statement(
    'backlog',
    `WITH waiting AS MATERIALIZED (
       SELECT event FROM audit_outbox WHERE due_at <= ${deadLetterFrom} ORDER BY due_at LIMIT ${maxCounted}),
     dead AS (SELECT FROM audit_outbox WHERE due_at > ${deadLetterFrom} LIMIT ${maxCounted})
     SELECT count(*)::int AS count, (SELECT count(*)::int FROM dead) AS dead_letters,
       min(substring(event FROM '"occurredAt":"([0-9TZ:.-]{24})"')) AS oldest FROM waiting`,
  )
  return {
    async take({ limit, retryMs }) {
      const rows = await database.query<{ event_id: string; event: string; attempts: number }>(take, [limit, retryMs])
      return rows.map(({ event_id: eventId, event, attempts }) => ({ eventId, event, attempts }))
    },
    async sent(eventIds) {
      await database.query(sent, [eventIds])
    },
    async putOff(eventIds, forMs) {
      await database.query(defer, [eventIds, forMs])
    },
    async backlog() {
      const [row] = await database.query<{ count: number; dead_letters: number; oldest: string | null }>(backlog)
      const { count, dead_letters: deadLetters, oldest } = row!
      const lagMs = Date.now() - Date.parse(oldest ?? '')
      return { count, deadLetters, lagMs: Number.isNaN(lagMs) ? 0 : Math.max(0, lagMs) }
    },
  }
}
