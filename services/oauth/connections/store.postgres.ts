/** Connections in Postgres: each change is one statement that names the epoch it knows, or a short transaction; nothing is held between. */
import type { AuditEvent } from '#mesh/audit/event.ts'
import type { Database, Queries, Statement } from '#mesh/postgres/database.ts'
import type { Connection, ConnectionStore, HeldConnection } from './store.ts'

export function postgresConnectionStore(database: Database): ConnectionStore {
  return {
    upsert(made, event) {
      const { connectionId, workspace, actor, provider, account, scopes } = made
      const { access, accessExpiresAt, refresh } = made.tokens
      const values = [connectionId, workspace, actor, provider, account, scopes, access, accessExpiresAt, refresh ?? null]
      return database.transaction(async (queries) => {
        const [row] = await queries.query<Row>(statements.upsert, values)
        await tell(queries, event)
        return toConnection(row!)
      })
    },

    async find({ workspace, actor, provider }) {
      const [row] = await database.query<Row>(statements.find, [workspace, actor, provider])
      return row && toHeld(row)
    },

    async list(workspace, actor) {
      return (await database.query<Row>(statements.list, [workspace, actor])).map(toConnection)
    },

    async disconnect(workspace, actor, connectionId, event) {
      if (!uuid.test(connectionId)) return undefined
      return database.transaction(async (queries) => {
        const [row] = await queries.query<Row>(statements.disconnect, [workspace, actor, connectionId])
        if (row === undefined) return undefined
        await tell(queries, event)
        return toHeld(row)
      })
    },

    async takeRefresh(connectionId, epoch, leaseMs) {
      const [row] = await database.query<EpochRow>(statements.takeRefresh, [connectionId, epoch, leaseMs])
      return row && toEpoch(row)
    },

    async writeRefreshed(connectionId, epoch, { access, accessExpiresAt, refresh }) {
      const values = [connectionId, epoch, access, accessExpiresAt, refresh ?? null]
      const [row] = await database.query<EpochRow & { refreshed_at: Date }>(statements.writeRefreshed, values)
      return row && { ...toEpoch(row), refreshedAt: row.refreshed_at }
    },

    failRefresh(connectionId, epoch, reason, event) {
      return database.transaction(async (queries) => {
        const rows = await queries.query(statements.failRefresh, [connectionId, epoch, reason])
        if (rows.length > 0) await tell(queries, event)
        return rows.length > 0
      })
    },

    async releaseRefresh(connectionId, epoch, restMs) {
      await database.query(statements.releaseRefresh, [connectionId, epoch, restMs ?? null])
    },

    async expireAccess(connectionId, access) {
      return (await database.query(statements.expireAccess, [connectionId, access])).length > 0
    },

    rotateBatch({ after, limit }, reseal) {
      return database.transaction(async (queries) => {
        const rows = await queries.query<Row>(statements.holdBatch, [after ?? firstId, limit])
        let rotated = 0
        for (const row of rows) {
          const tokens = reseal(toHeld(row))
          if (tokens === undefined) continue
          await queries.query(statements.reseal, [row.connection_id, tokens.access, tokens.refresh ?? null])
          rotated += 1
        }
        return { seen: rows.length, rotated, last: rows.at(-1)?.connection_id }
      })
    },
  }
}

const tell = (queries: Queries, event: AuditEvent) => queries.query(statements.tell, [event.eventId, JSON.stringify(event)])

interface EpochRow {
  /** bigint: the driver leaves it text. */
  epoch: string
}

interface Row extends EpochRow {
  connection_id: string
  workspace: string
  actor: string
  provider: string
  account: string
  scopes: string[]
  status: Connection['status']
  reason: string | null
  access_sealed: string
  access_expires_at: Date
  refresh_sealed: string | null
  legacy: boolean
  leased_ms: number
  rest_ms: number
  failures: number
  connected_at: Date
  refreshed_at: Date | null
}

const toEpoch = ({ epoch }: EpochRow) => ({ epoch: Number(epoch) })

const toConnection = (row: Row): Connection => ({
  connectionId: row.connection_id,
  workspace: row.workspace,
  actor: row.actor,
  provider: row.provider,
  account: row.account,
  scopes: row.scopes,
  status: row.status,
  reason: row.reason ?? undefined,
  epoch: Number(row.epoch),
  connectedAt: row.connected_at,
  refreshedAt: row.refreshed_at ?? undefined,
})

const toHeld = (row: Row): HeldConnection => ({
  ...toConnection(row),
  tokens: { access: row.access_sealed, accessExpiresAt: row.access_expires_at, refresh: row.refresh_sealed ?? undefined },
  legacy: row.legacy,
  leasedMs: row.leased_ms,
  restMs: row.rest_ms,
  failures: row.failures,
})

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i
/** Before every id, so that a batch is a walk along the index wherever it begins. */
const firstId = '00000000-0000-0000-0000-000000000000'
const statement = (name: string, text: string): Statement => ({ name: `connections ${name}`, text })

const msUntil = (column: string) => `greatest(coalesce(extract(epoch FROM ${column} - clock_timestamp()), 0), 0)::float8 * 1000`
const inMs = (parameter: string) => `clock_timestamp() + ${parameter}::float8 * interval '1 millisecond'`

const columns = `connection_id, workspace, actor, provider, account, scopes, status, reason, access_sealed, access_expires_at,
  refresh_sealed, legacy, epoch, ${msUntil('lease_until')} AS leased_ms, ${msUntil('rest_until')} AS rest_ms, failures,
  connected_at, refreshed_at`

const nextEpoch = `epoch = nextval('connection_epochs')`
/** Whoever took this epoch. What has another status has no lease to end. */
const holding = `connection_id = $1 AND epoch = $2 AND status = 'connected'`

const statements = {
  upsert: statement(
    'upsert',
    `INSERT INTO connections (connection_id, workspace, actor, provider, account, scopes, access_sealed, access_expires_at, refresh_sealed)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
     ON CONFLICT (workspace, actor, provider) DO UPDATE SET
       connection_id = excluded.connection_id, account = excluded.account, scopes = excluded.scopes, status = 'connected', reason = NULL,
       access_sealed = excluded.access_sealed, access_expires_at = excluded.access_expires_at,
       refresh_sealed = CASE WHEN connections.connection_id = excluded.connection_id
         THEN coalesce(excluded.refresh_sealed, connections.refresh_sealed) ELSE excluded.refresh_sealed END,
       legacy = connections.legacy AND connections.connection_id = excluded.connection_id
         AND excluded.refresh_sealed IS NULL AND connections.refresh_sealed IS NOT NULL,
       ${nextEpoch}, lease_until = NULL, rest_until = NULL, failures = 0, connected_at = clock_timestamp(), refreshed_at = NULL
     RETURNING ${columns}`,
  ),
  find: statement('find', `SELECT ${columns} FROM connections WHERE workspace = $1 AND actor = $2 AND provider = $3`),
  list: statement('list', `SELECT ${columns} FROM connections WHERE workspace = $1 AND actor = $2 ORDER BY provider`),
  disconnect: statement(
    'disconnect',
    `DELETE FROM connections WHERE workspace = $1 AND actor = $2 AND connection_id = $3 RETURNING ${columns}`,
  ),
  takeRefresh: statement(
    'take refresh',
    `UPDATE connections SET ${nextEpoch}, lease_until = ${inMs('$3')}
     WHERE ${holding} AND (lease_until IS NULL OR lease_until <= clock_timestamp()) RETURNING epoch`,
  ),
  /** A provider that rotates says the new refresh token, one that does not says none. */
  writeRefreshed: statement(
    'write refreshed',
    `UPDATE connections SET ${nextEpoch}, lease_until = NULL, rest_until = NULL, failures = 0, access_sealed = $3, access_expires_at = $4,
       refresh_sealed = coalesce($5, refresh_sealed), legacy = legacy AND $5::text IS NULL, refreshed_at = clock_timestamp()
     WHERE ${holding} RETURNING epoch, refreshed_at`,
  ),
  failRefresh: statement(
    'fail refresh',
    `UPDATE connections SET ${nextEpoch}, lease_until = NULL, status = 'reauth_required', reason = $3, refresh_sealed = NULL
     WHERE ${holding} RETURNING epoch`,
  ),
  releaseRefresh: statement(
    'release refresh',
    `UPDATE connections SET lease_until = NULL, rest_until = ${inMs('$3')}, failures = failures + ($3 IS NOT NULL)::int WHERE ${holding}`,
  ),
  expireAccess: statement(
    'expire access',
    `UPDATE connections SET access_expires_at = least(access_expires_at, clock_timestamp())
     WHERE connection_id = $1 AND access_sealed = $2 RETURNING epoch`,
  ),
  holdBatch: statement(
    'hold batch',
    `SELECT ${columns} FROM connections WHERE connection_id > $1 ORDER BY connection_id LIMIT $2 FOR NO KEY UPDATE`,
  ),
  reseal: statement('reseal', `UPDATE connections SET access_sealed = $2, refresh_sealed = $3, legacy = false WHERE connection_id = $1`),
  tell: statement('tell', `INSERT INTO audit_outbox (event_id, event) VALUES ($1::uuid, $2)`),
}
