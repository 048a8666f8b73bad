/** Revocations in Postgres. */
import type { Database, Queries } from '#mesh/postgres/database.ts'
import { statementMaker } from '#mesh/postgres/statement.ts'
import type { Revocation } from './revocation.ts'
import type { RevocationStore } from './store.ts'

/** Maximum per workspace: further tokens are not revoked, so that no workspace delays the others. */
const maxOfWorkspace = 1000
/** The delay in which the writer tries first, in milliseconds. */
const firstMs = 15_000

/** In the transaction that makes it necessary. */
export async function addRevocation(queries: Queries, revocation: Revocation): Promise<void> {
  const { revocationId, workspace, connectionId, provider, issuer, subject, kind, sealed, legacy } = revocation
  const values = [revocationId, workspace, connectionId, provider, issuer ?? null, subject ?? null, kind, sealed, legacy]
  await queries.query(statements.add, [...values, firstMs, maxOfWorkspace])
}

export function postgresRevocationStore(database: Database): RevocationStore {
  return {
    add: (revocation) => addRevocation(database, revocation),
    async take(limit) {
      return (await database.query<Row>(statements.take, [limit])).map(toRevocation)
    },
    async done(revocationId) {
      await database.query(statements.done, [revocationId])
    },
    async stands({ provider, issuer, subject }) {
      return (await database.query(statements.stands, [provider, issuer ?? null, subject ?? null])).length > 0
    },
    async expire(olderThanMs, limit) {
      return (await database.query(statements.expire, [olderThanMs, limit])).length
    },
    async pending() {
      const [row] = await database.query<{ count: number; lag: number }>(statements.pending)
      return { count: row!.count, lagMs: row!.lag }
    },
  }
}

interface Row {
  revocation_id: string
  workspace: string
  connection_id: string
  provider: string
  issuer: string | null
  subject: string | null
  kind: Revocation['kind']
  sealed: string
  legacy: boolean
}

const toRevocation = (row: Row): Revocation => ({
  revocationId: row.revocation_id,
  workspace: row.workspace,
  connectionId: row.connection_id,
  provider: row.provider,
  issuer: row.issuer ?? undefined,
  subject: row.subject ?? undefined,
  kind: row.kind,
  sealed: row.sealed,
  legacy: row.legacy,
})

const statement = statementMaker('revocations ')

const statements = {
  add: statement(
    'add',
    `INSERT INTO revocations (revocation_id, workspace, connection_id, provider, issuer, subject, kind, sealed, legacy, due_at)
     SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, clock_timestamp() + $10::float8 * interval '1 millisecond'
     WHERE (SELECT count(*) FROM (SELECT FROM revocations WHERE workspace = $2 LIMIT $11) AS own) < $11`,
  ),
  take: statement(
    'take',
    `UPDATE revocations SET attempts = attempts + 1, due_at = clock_timestamp() + least(30 * 2 ^ least(attempts, 10), 3600) * interval '1 second'
     WHERE revocation_id = ANY (ARRAY (
       SELECT revocation_id FROM revocations WHERE due_at <= (SELECT clock_timestamp()) ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED))
     RETURNING revocation_id, workspace, connection_id, provider, issuer, subject, kind, sealed, legacy`,
  ),
  done: statement('done', `DELETE FROM revocations WHERE revocation_id = $1`),
  stands: statement(
    'stands',
    `SELECT FROM connections WHERE provider = $1 AND issuer = $2 AND subject = $3 AND status = 'connected' LIMIT 1`,
  ),
  expire: statement(
    'expire',
    `DELETE FROM revocations WHERE revocation_id = ANY (ARRAY (
       SELECT revocation_id FROM revocations WHERE created_at < (SELECT clock_timestamp() - $1::float8 * interval '1 millisecond')
       ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))
     RETURNING revocation_id`,
  ),
  pending: statement(
    'pending',
    `SELECT count(*)::int AS count, greatest(0, coalesce(extract(epoch FROM clock_timestamp() - min(created_at)) * 1000, 0))::float8 AS lag
     FROM (SELECT created_at FROM revocations ORDER BY created_at LIMIT 10000) AS oldest`,
  ),
}
