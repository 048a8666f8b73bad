/** Steps of connecting in Postgres: taken by the one DELETE that finds the row. All times are the database's. */
import type { Database } from '#mesh/postgres/database.ts'
import { statementMaker } from '#mesh/postgres/statement.ts'
import { type ConnectStore, type StepKey, maxSteps } from './store.ts'

export function postgresConnectStore(database: Database): ConnectStore {
  return {
    async put({ actor, content, lifetimeMs, ...key }) {
      await database.query(statements.put, [...columnsOf(key), content, lifetimeMs, actor, maxSteps - 1])
    },

    async find(key) {
      const [row] = await database.query<{ content: string }>(statements.find, columnsOf(key))
      return row?.content
    },

    async expire(limit) {
      return (await database.query(statements.expire, [limit])).length
    },

    async take(key) {
      const [row] = await database.query<{ content: string; living: boolean }>(statements.take, columnsOf(key))
      return row?.living === true ? row.content : undefined
    },
  }
}

const columnsOf = ({ kind, workspace, hash }: StepKey) => [kind, workspace, Buffer.from(hash, 'hex')]

const statement = statementMaker('connect ')

const statements = {
  /** Adding a step removes some expired ones, so that they do not pile up, and the actor's oldest beyond the limit. */
  put: statement(
    'put',
    `WITH expired AS (
       DELETE FROM connect_steps WHERE (kind, workspace, hash) IN (
         SELECT kind, workspace, hash FROM connect_steps WHERE expires_at <= (SELECT clock_timestamp())
         ORDER BY expires_at LIMIT 20 FOR UPDATE SKIP LOCKED)),
     surplus AS (
       DELETE FROM connect_steps WHERE (kind, workspace, hash) IN (
         SELECT kind, workspace, hash FROM connect_steps WHERE workspace = $2 AND actor = $6
         ORDER BY expires_at DESC OFFSET $7 LIMIT 20 FOR UPDATE SKIP LOCKED))
     INSERT INTO connect_steps (kind, workspace, hash, content, expires_at, actor)
     VALUES ($1, $2, $3, $4, clock_timestamp() + $5::float8 * interval '1 millisecond', $6)`,
  ),
  find: statement(
    'find',
    `SELECT content FROM connect_steps WHERE kind = $1 AND workspace = $2 AND hash = $3 AND expires_at > clock_timestamp()`,
  ),
  expire: statement(
    'expire',
    `DELETE FROM connect_steps WHERE ctid = ANY (ARRAY (
       SELECT ctid FROM connect_steps WHERE expires_at <= (SELECT clock_timestamp())
       ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED))
     RETURNING kind`,
  ),
  take: statement(
    'take',
    `DELETE FROM connect_steps WHERE kind = $1 AND workspace = $2 AND hash = $3
     RETURNING content, expires_at > clock_timestamp() AS living`,
  ),
}
