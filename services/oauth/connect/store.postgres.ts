/** Steps of connecting in Postgres: taken by the one DELETE that finds the row. All time is the database's. */
import type { Database, Statement } from '#mesh/postgres/database.ts'
import type { ConnectStore, StepKey } from './store.ts'

export function postgresConnectStore(database: Database): ConnectStore {
  return {
    async put(key, content, lifeMs) {
      await database.query(statements.put, [...columnsOf(key), content, lifeMs])
    },

    async take(key) {
      const [row] = await database.query<{ content: string; living: boolean }>(statements.take, columnsOf(key))
      return row?.living === true ? row.content : undefined
    },
  }
}

const columnsOf = ({ kind, workspace, hash }: StepKey) => [kind, workspace, Buffer.from(hash, 'hex')]

const statement = (name: string, text: string): Statement => ({ name: `connect ${name}`, text })

const statements = {
  /** Who adds one removes some that have expired, so that they do not pile up. */
  put: statement(
    'put',
    `WITH expired AS (
       DELETE FROM connect_steps WHERE (kind, workspace, hash) IN (
         SELECT kind, workspace, hash FROM connect_steps WHERE expires_at <= clock_timestamp()
         ORDER BY expires_at LIMIT 20 FOR UPDATE SKIP LOCKED))
     INSERT INTO connect_steps (kind, workspace, hash, content, expires_at)
     VALUES ($1, $2, $3, $4, clock_timestamp() + $5::float8 * interval '1 millisecond')`,
  ),
  take: statement(
    'take',
    `DELETE FROM connect_steps WHERE kind = $1 AND workspace = $2 AND hash = $3
     RETURNING content, expires_at > clock_timestamp() AS living`,
  ),
}
