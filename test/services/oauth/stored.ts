/** What the service left in its database. */
import type { AuditEvent } from '#mesh/audit/event.ts'
import type { Database } from '#mesh/postgres/database.ts'

/** What the audit log will be told. */
export async function eventsIn({ pool }: Database): Promise<AuditEvent[]> {
  const { rows } = await pool.query<{ event: string }>('SELECT event FROM audit_outbox')
  return rows.map(({ event }) => JSON.parse(event) as AuditEvent)
}

/** All that there is, as text. */
export async function everythingIn({ pool }: Database): Promise<string> {
  const rowsOf = (table: string) => pool.query<{ row: string }>(`SELECT t::text AS row FROM ${table} t`)
  const texts = await Promise.all(['connect_steps', 'connections', 'revocations', 'audit_outbox'].map(rowsOf))
  return texts.flatMap(({ rows }) => rows.map(({ row }) => row)).join('\n')
}
