/** Connections in Postgres: each change is one statement with the epoch that it knows, or a short transaction; nothing is held between. */
import type { AuditEvent } from '#mesh/audit/event.ts'
import type { Database, Queries } from '#mesh/postgres/database.ts'
import { beat, beatStatement, hasBeatenFor } from '#mesh/postgres/heartbeat.ts'
import { statementMaker } from '#mesh/postgres/statement.ts'
import { isUuid } from '#mesh/uuid.ts'
import { addRevocation } from '../revocations/store.postgres.ts'
import { type Connection, type ConnectionStore, type LeasedConnection, gapMs, maxOfWorkspace } from './store.ts'

export function postgresConnectionStore(database: Database): ConnectionStore {
  return {
    upsert(made, event, revokes) {
      const { connectionId, workspace, actor, provider, account, scopes, issuer, subject } = made
      const { access, accessExpiresAt, refresh } = made.tokens
      const values = [
        connectionId,
        workspace,
        actor,
        provider,
        account,
        scopes,
        access,
        accessExpiresAt,
        refresh ?? null,
        issuer ?? null,
        subject ?? null,
      ]
      return database.transaction(async (queries) => {
        const [before] = revokes === undefined ? [] : await queries.query<Row>(statements.hold, [workspace, actor, provider])
        const [row] = await queries.query<Row>(statements.upsert, values)
        await tell(queries, event)
        const revocation = before && revokes?.(toLeased(before))
        if (revocation !== undefined) await addRevocation(queries, revocation)
        return toConnection(row!)
      })
    },

    async find({ workspace, actor, provider }) {
      const [row] = await database.query<Row>(statements.find, [workspace, actor, provider])
      return row && toLeased(row)
    },

    async list(workspace, actor) {
      return (await database.query<Row>(statements.list, [workspace, actor])).map(toConnection)
    },

    async disconnect(workspace, actor, connectionId, event, revokes) {
      if (!isUuid(connectionId)) return undefined
      return database.transaction(async (queries) => {
        const [row] = await queries.query<Row>(statements.disconnect, [workspace, actor, connectionId])
        if (row === undefined) return undefined
        await tell(queries, event)
        const held = toLeased(row)
        const revocation = revokes?.(held)
        if (revocation !== undefined) await addRevocation(queries, revocation)
        return held
      })
    },

    expire(endedMs, limit, eventOf) {
      return database.transaction(async (queries) => {
        await queries.query(statements.stampEnded, [limit])
        const rows = await queries.query<Row>(statements.expire, [endedMs, limit])
        for (const row of rows) await tell(queries, eventOf(toConnection(row)))
        return rows.length
      })
    },

    async isFull(workspace) {
      const [row] = await database.query<{ full: boolean }>(statements.isFull, [workspace, maxOfWorkspace])
      return row!.full
    },

    async takeRefresh(connectionId, epoch, leaseMs) {
      const [row] = await database.query<EpochRow>(statements.takeRefresh, [connectionId, epoch, leaseMs, gapMs])
      return row && toEpoch(row)
    },

    async writeRefreshed(connectionId, version, { access, accessExpiresAt, refresh }, event) {
      const values = [connectionId, version, access, accessExpiresAt, refresh ?? null, event.eventId, JSON.stringify(event)]
      const [row] = await database.query<WrittenRow>(statements.writeRefreshed, values)
      return row && { ...toEpoch(row), refreshedAt: row.refreshed_at, version: row.version, recovered: row.recovered }
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

    beat: () => beat(database, statements.beat, { gapMs, restMs: gapMs / 10 }),

    rotateBatch({ after, limit }, reseal) {
      return database.transaction(async (queries) => {
        const rows = await queries.query<Row>(statements.holdBatch, [after ?? firstId, limit])
        let rotated = 0
        for (const row of rows) {
          const tokens = reseal(toLeased(row))
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

interface WrittenRow extends EpochRow {
  refreshed_at: Date
  version: string
  recovered: boolean
}

interface Row extends EpochRow {
  connection_id: string
  workspace: string
  actor: string
  provider: string
  account: string
  issuer: string | null
  subject: string | null
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
  version: string
  unfinished: boolean
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
  issuer: row.issuer ?? undefined,
  subject: row.subject ?? undefined,
  scopes: row.scopes,
  status: row.status,
  reason: row.reason ?? undefined,
  epoch: Number(row.epoch),
  connectedAt: row.connected_at,
  refreshedAt: row.refreshed_at ?? undefined,
})

const toLeased = (row: Row): LeasedConnection => ({
  ...toConnection(row),
  tokens: { access: row.access_sealed, accessExpiresAt: row.access_expires_at, refresh: row.refresh_sealed ?? undefined },
  legacy: row.legacy,
  leasedMs: row.leased_ms,
  restMs: row.rest_ms,
  failures: row.failures,
  version: row.version,
  unfinished: row.unfinished,
})

/** Before every id, so that a batch is an index range wherever it begins. */
const firstId = '00000000-0000-0000-0000-000000000000'
const statement = statementMaker('connections ')

const msUntil = (column: string) => `greatest(coalesce(extract(epoch FROM ${column} - clock_timestamp()), 0), 0)::float8 * 1000`
const inMs = (parameter: string) => `clock_timestamp() + ${parameter}::float8 * interval '1 millisecond'`

/** When the tokens were written, in microseconds. */
const version = `(extract(epoch FROM coalesce(refreshed_at, connected_at)) * 1000000)::bigint`

const columns = `connection_id, workspace, actor, provider, account, issuer, subject, scopes, status, reason, access_sealed, access_expires_at,
  refresh_sealed, legacy, epoch, ${msUntil('lease_until')} AS leased_ms, lease_until IS NOT NULL AS unfinished,
  ${msUntil('rest_until')} AS rest_ms, failures, ${version}::text AS version, connected_at, refreshed_at`

const nextEpoch = `epoch = nextval('connection_epochs')`
/** The holder of this epoch. Any other status has no lease to end. */
const holding = `connection_id = $1 AND epoch = $2 AND status = 'connected'`

const statements = {
  upsert: statement(
    'upsert',
    `INSERT INTO connections (connection_id, workspace, actor, provider, account, scopes, access_sealed, access_expires_at, refresh_sealed,
       issuer, subject)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
     ON CONFLICT (workspace, actor, provider) DO UPDATE SET
       connection_id = excluded.connection_id, account = excluded.account, scopes = excluded.scopes, status = 'connected', reason = NULL,
       ended_at = NULL, issuer = excluded.issuer, subject = excluded.subject, access_sealed = excluded.access_sealed, access_expires_at = excluded.access_expires_at,
       refresh_sealed = CASE WHEN connections.connection_id = excluded.connection_id
         THEN coalesce(excluded.refresh_sealed, connections.refresh_sealed) ELSE excluded.refresh_sealed END,
       legacy = connections.legacy AND connections.connection_id = excluded.connection_id
         AND excluded.refresh_sealed IS NULL AND connections.refresh_sealed IS NOT NULL,
       ${nextEpoch}, lease_until = NULL, rest_until = NULL, failures = 0, connected_at = clock_timestamp(), refreshed_at = NULL
     RETURNING ${columns}`,
  ),
  hold: statement('hold', `SELECT ${columns} FROM connections WHERE workspace = $1 AND actor = $2 AND provider = $3 FOR UPDATE`),
  find: statement('find', `SELECT ${columns} FROM connections WHERE workspace = $1 AND actor = $2 AND provider = $3`),
  list: statement('list', `SELECT ${columns} FROM connections WHERE workspace = $1 AND actor = $2 ORDER BY provider`),
  disconnect: statement(
    'disconnect',
    `DELETE FROM connections WHERE workspace = $1 AND actor = $2 AND connection_id = $3 RETURNING ${columns}`,
  ),
  /** Written by code that did not record the time. */
  stampEnded: statement(
    'stamp ended',
    `UPDATE connections SET ended_at = clock_timestamp() WHERE connection_id = ANY (ARRAY (
       SELECT connection_id FROM connections WHERE status = 'reauth_required' AND ended_at IS NULL ORDER BY connection_id LIMIT $1 FOR UPDATE SKIP LOCKED))`,
  ),
  expire: statement(
    'expire',
    `DELETE FROM connections WHERE status = 'reauth_required' AND connection_id = ANY (ARRAY (
       SELECT connection_id FROM connections
       WHERE status = 'reauth_required' AND ended_at < (SELECT clock_timestamp() - $1::float8 * interval '1 millisecond')
       ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED))
     RETURNING ${columns}`,
  ),
  isFull: statement('is full', `SELECT count(*) >= $2 AS full FROM (SELECT FROM connections WHERE workspace = $1 LIMIT $2) AS own`),
  takeRefresh: statement(
    'take refresh',
    `WITH ${hasBeatenFor({ lease: '$3', gap: '$4' })}
     UPDATE connections SET ${nextEpoch}, lease_until = ${inMs('$3')}
     WHERE ${holding} AND (lease_until IS NULL OR lease_until <= (SELECT at FROM steady)) RETURNING epoch`,
  ),
  /** A provider with rotation returns the new refresh token, others return none. */
  writeRefreshed: statement(
    'write refreshed',
    `WITH before AS (SELECT status FROM connections WHERE connection_id = $1 FOR UPDATE),
     written AS (
       UPDATE connections SET ${nextEpoch}, lease_until = NULL, rest_until = NULL, failures = 0, access_sealed = $3, access_expires_at = $4,
         refresh_sealed = coalesce($5, refresh_sealed), legacy = legacy AND $5::text IS NULL, refreshed_at = clock_timestamp(),
         status = 'connected', reason = NULL, ended_at = NULL
       FROM before WHERE connection_id = $1 AND ${version} = $2::bigint AND (connections.status = 'connected' OR $5::text IS NOT NULL)
       RETURNING epoch, refreshed_at, ${version}::text AS version, before.status = 'reauth_required' AS recovered),
     told AS (INSERT INTO audit_outbox (event_id, event) SELECT $6::uuid, $7 FROM written WHERE recovered)
     SELECT * FROM written`,
  ),
  failRefresh: statement(
    'fail refresh',
    `UPDATE connections SET ${nextEpoch}, lease_until = NULL, status = 'reauth_required', reason = $3, refresh_sealed = NULL,
       ended_at = clock_timestamp()
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
  beat: beatStatement(statement),
  holdBatch: statement(
    'hold batch',
    `SELECT ${columns} FROM connections WHERE connection_id > $1 ORDER BY connection_id LIMIT $2 FOR NO KEY UPDATE`,
  ),
  reseal: statement('reseal', `UPDATE connections SET access_sealed = $2, refresh_sealed = $3, legacy = false WHERE connection_id = $1`),
  tell: statement('tell', `INSERT INTO audit_outbox (event_id, event) VALUES ($1::uuid, $2)`),
}
