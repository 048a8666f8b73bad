/** A database of access, migrated, and what the tests look into it with. */
import { pino } from 'pino'
import type { AuditEvent } from '#mesh/audit/event.ts'
import { Secret } from '#mesh/config.ts'
import { Database } from '#mesh/postgres/database.ts'
import { freshDatabase } from '../../../setup/database.ts'

const migrations = new URL('../../../../services/access/migrations/', import.meta.url)

export const openDatabase = (url: string): Database => new Database({ url: new Secret(url), log: pino({ level: 'silent' }) })

export interface AccessDatabase {
  readonly url: string
  readonly database: Database
  /** Every row of a table, as text. */
  rows(table: 'api_keys' | 'revocations' | 'audit_outbox'): Promise<string[]>
  events(): Promise<AuditEvent[]>
  close(): Promise<void>
}

export async function accessDatabase(): Promise<AccessDatabase> {
  const fresh = await freshDatabase(migrations)
  const database = openDatabase(fresh.url)
  const select = (name: string, text: string) => database.query<{ row: string }>({ name, text })
  return {
    url: fresh.url,
    database,
    rows: async (table) => (await select(`test ${table}`, `SELECT t::text AS row FROM ${table} t`)).map(({ row }) => row),
    async events() {
      const rows = await select('test events', 'SELECT event AS row FROM audit_outbox')
      return rows.map(({ row }) => JSON.parse(row) as AuditEvent)
    },
    async close() {
      await database.close()
      await fresh.drop()
    },
  }
}
