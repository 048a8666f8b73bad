import type { Database } from '#mesh/postgres/database.ts'
import { beat, beatStatement, hasBeatenFor } from '#mesh/postgres/heartbeat.ts'
import { statementMaker } from '#mesh/postgres/statement.ts'
import { isUuid } from '#mesh/uuid.ts'
import { type RunRow, detailsExpired, runColumns, toRun } from './runs/run-row.ts'
import { type RunKey, type RunStatus, hasEnded, isVoid } from './runs/run.ts'
import type { NewRun, BeginResult, NewPreview, Preview, Store } from './store.ts'

const statement = statementMaker('actions.')
const inMs = (parameter: string) => `clock_timestamp() + ${parameter} * interval '1 millisecond'`

interface PreviewRow {
  preview_id: string
  workspace: string
  actor: string
  action: string
  provider: string
  params: Buffer
  connection_id: string | null
  expires_at: Date
  expired: boolean
}

type PendingRow = Pick<RunRow, 'run_id' | 'workspace' | 'key_kind' | 'key' | 'trace_id' | 'span_id'> & { attempts: number }

const addPreview = statement(
  'add-preview',
  `WITH audited AS (INSERT INTO audit_outbox (event_id, event) VALUES ($11::uuid, $12))
   INSERT INTO previews (preview_id, workspace, actor, action, provider, params, summary, warnings, connection_id, expires_at)
   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, ${inMs('$10::float8')}) RETURNING expires_at`,
)
const findPreview = statement(
  'find-preview',
  `SELECT preview_id, workspace, actor, action, provider, params, connection_id, expires_at, expires_at <= clock_timestamp() AS expired
   FROM previews WHERE preview_id = $1 AND workspace = $2`,
)
const deletePreviews = statement(
  'delete-previews',
  `DELETE FROM previews WHERE preview_id = ANY (ARRAY (
     SELECT preview_id FROM previews WHERE expires_at < (SELECT clock_timestamp() - $1::float8 * interval '1 millisecond')
     ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING preview_id`,
)
/** The bytes go from the preview to the run inside the database: nothing in between can change them. */
const begin = statement(
  'begin',
  `WITH consumed AS (
     UPDATE previews SET consumed_at = coalesce(consumed_at, clock_timestamp()) WHERE preview_id = $2 AND workspace = $4)
   INSERT INTO runs (run_id, preview_id, attempt_id, workspace, actor, action, provider, params, connection_id, key_kind, key,
     lease_until, request_id, trace_id, span_id, key_id, source)
   SELECT $1, preview_id, $3, workspace, actor, action, provider, params, connection_id, $5, $6, ${inMs('$7::float8')}, $8, $9, $10, $11, $12
   FROM previews WHERE preview_id = $2 AND workspace = $4
   ON CONFLICT DO NOTHING RETURNING ${runColumns}`,
)
/** `mine`: inserted by this attempt, unchanged since, and still owned. */
const inTheWay = statement(
  'blocking-run',
  `SELECT ${runColumns}, (run_id = $1 AND attempt_id = $3 AND epoch = 1 AND status = 'executing' AND lease_until > clock_timestamp()) AS mine
   FROM runs WHERE run_id = $1 OR preview_id = $2 ORDER BY (run_id = $1) DESC LIMIT 1`,
)
/** Waits for a concurrent begin of the same run: either this row commits, or that one. */
const giveUp = statement(
  'give-up',
  `INSERT INTO runs (run_id, preview_id, attempt_id, workspace, actor, action, provider, params, key_kind, key, status, lease_until, error_reason, error,
     request_id, trace_id, ended_at)
   VALUES ($1, $1, $1, '', '', '', '', '{}', $2, $3, 'failed', clock_timestamp(), 'NOT_BEGUN', 'NOT_BEGUN: nothing was done', $1, '', clock_timestamp())
   ON CONFLICT DO NOTHING`,
)
const findRun = statement('find-run', `SELECT ${runColumns} FROM runs WHERE run_id = $1`)
/** Polled for runs in progress: only whether they are in progress is read. */
const findEndedRun = statement('find-ended-run', `SELECT ${runColumns} FROM runs WHERE run_id = $1 AND status <> 'executing'`)
const renewLease = statement(
  'renew-lease',
  `UPDATE runs SET lease_until = ${inMs('$3::float8')} WHERE run_id = $1 AND epoch = $2 AND status = 'executing' RETURNING run_id`,
)
const recordPoint = statement(
  'record-point',
  `UPDATE runs SET recovery = $3, recorded_at = clock_timestamp() WHERE run_id = $1 AND epoch = $2 AND status = 'executing' RETURNING run_id`,
)
const endRun = statement(
  'end-run',
  `WITH ended AS (
     UPDATE runs SET status = $3, result = $4, error_reason = $5, error = $6, acted = $10, ended_at = clock_timestamp()
     WHERE run_id = $1 AND epoch = $2 AND status = 'executing' RETURNING ${runColumns}),
   telling AS (
     INSERT INTO outbox (run_id, workspace, key_kind, key, due_at)
     SELECT run_id, workspace, key_kind, key, ${inMs('$7::float8')} FROM ended),
   audited AS (INSERT INTO audit_outbox (event_id, event) SELECT $8::uuid, $9 FROM ended)
   SELECT * FROM ended`,
)
/** The time of the end stays: only what is known of it is new. Deleted details of the run do not come back. */
const endLate = statement(
  'end-late',
  `WITH found AS (
     SELECT run_id AS found_id, status AS was FROM runs
     WHERE run_id = $1 AND epoch > $2 AND settled_at IS NULL
       AND ($3 = 'success' AND status IN ('executing', 'unknown') OR status = 'unknown' AND epoch = $2 + 1 AND acted = false)
     FOR UPDATE),
   ended AS (
     UPDATE runs SET status = $3, error_reason = $5, ended_at = coalesce(ended_at, clock_timestamp()),
       result = CASE WHEN details_removed_at IS NULL THEN $4 END,
       error = CASE WHEN details_removed_at IS NULL THEN $6 ELSE $5 || '${detailsExpired}' END
     FROM found WHERE run_id = found_id RETURNING ${runColumns}, was),
   telling AS (
     INSERT INTO outbox (run_id, workspace, key_kind, key, due_at)
     SELECT run_id, workspace, key_kind, key, ${inMs('$7::float8')} FROM ended ON CONFLICT DO NOTHING),
   audited AS (INSERT INTO audit_outbox (event_id, event) SELECT $8::uuid, $9 FROM ended)
   SELECT * FROM ended`,
)
const beatRow = beatStatement(statement)
const claimExpiredRuns = statement(
  'claim-expired-runs',
  `WITH ${hasBeatenFor({ lease: '$2', gap: '$3' })}
   UPDATE runs SET epoch = epoch + 1, lease_until = ${inMs('$2::float8')} WHERE run_id IN (
     SELECT run_id FROM runs WHERE status = 'executing' AND lease_until < (SELECT at FROM steady) AND run_id <> ALL ($4::uuid[])
     ORDER BY lease_until LIMIT $1 FOR UPDATE SKIP LOCKED)
   RETURNING ${runColumns}`,
)
const claimPending = statement(
  'claim-pending',
  `UPDATE outbox SET attempts = attempts + 1, due_at = ${inMs('$2::float8')} FROM runs WHERE runs.run_id = outbox.run_id AND outbox.run_id = ANY (ARRAY (
     SELECT run_id FROM outbox WHERE due_at <= (SELECT clock_timestamp()) ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED))
   RETURNING outbox.run_id, outbox.workspace, outbox.key_kind, outbox.key, attempts, trace_id, span_id`,
)
/** If the notification came long after the end, the run stores its time: until a day after that a key may return it. */
const told = statement(
  'mark-delivered',
  `WITH heard AS (DELETE FROM outbox WHERE run_id = ANY ($1::uuid[]) RETURNING run_id)
   UPDATE runs SET told_at = clock_timestamp() FROM heard WHERE runs.run_id = heard.run_id AND ended_at < clock_timestamp() - interval '1 minute'`,
)
/** By the time of the end: each attempt defers when they are due. */
const pending = statement(
  'pending',
  `SELECT count(*)::int AS count, greatest(0, coalesce(extract(epoch FROM clock_timestamp() - min(ended_at)) * 1000, 0))::float8 AS lag
   FROM (SELECT run_id FROM outbox ORDER BY due_at LIMIT 10000) AS first
   LEFT JOIN LATERAL (SELECT ended_at FROM runs WHERE runs.run_id = first.run_id OFFSET 0) AS run ON true`,
)

const toPreview = (row: PreviewRow): Preview => ({
  previewId: row.preview_id,
  workspace: row.workspace,
  actor: row.actor,
  action: row.action,
  provider: row.provider,
  params: row.params,
  connectionId: row.connection_id ?? undefined,
  expiresAt: row.expires_at,
  expired: row.expired,
})

/**
 * `audited` is called whenever an audit event was written, so that its relay need not wait for its poll. Leases, ends, the reconciler and
 * the outbox have the connections of `reserved` for themselves, whatever callers ask of `database` meanwhile.
 */
export function postgresStore(database: Database, audited: () => void = () => undefined, reserved: Database = database): Store {
  return {
    async addPreview(preview: NewPreview) {
      const rows = await database.query<{ expires_at: Date }>(addPreview, [
        preview.previewId,
        preview.workspace,
        preview.actor,
        preview.action,
        preview.provider,
        preview.params,
        preview.summary,
        preview.warnings,
        preview.connectionId ?? null,
        preview.ttlMs,
        preview.event.eventId,
        JSON.stringify(preview.event),
      ])
      audited()
      return rows[0]!.expires_at
    },

    async findPreview(previewId, workspace) {
      // Opaque to callers; only ids that we issued can be found.
      if (!isUuid(previewId)) return undefined
      const rows = await database.query<PreviewRow>(findPreview, [previewId, workspace])
      return rows[0] && toPreview(rows[0])
    },

    async deletePreviews(olderThanMs, limit) {
      return (await reserved.query(deletePreviews, [olderThanMs, limit])).length
    },

    async begin({ runId, attemptId, previewId, key, leaseMs, principal, spanId }: NewRun): Promise<BeginResult> {
      const inserted = await database.query<RunRow>(begin, [
        runId,
        previewId,
        attemptId,
        key.workspace,
        key.kind,
        key.key,
        leaseMs,
        principal.requestId,
        principal.traceId,
        spanId,
        principal.keyId,
        principal.source,
      ])
      if (inserted[0] !== undefined) return { outcome: 'begun', run: toRun(inserted[0]) }
      const [row] = await database.query<RunRow & { mine: boolean }>(inTheWay, [runId, previewId, attemptId])
      if (row === undefined) return { outcome: 'preview-gone' }
      const run = toRun(row)
      if (isVoid(run)) return { outcome: 'given-up' }
      if (row.mine) return { outcome: 'begun', run }
      return { outcome: run.runId === runId ? 'run-exists' : 'preview-taken', run }
    },

    async giveUp(runId, key) {
      await database.query(giveUp, [runId, key.kind, key.key])
      const [row] = await database.query<RunRow>(findRun, [runId])
      const run = toRun(row!)
      if (isVoid(run)) return 'void'
      return hasEnded(run) ? 'ended' : 'executing'
    },

    async findRun(runId) {
      const rows = await database.query<RunRow>(findRun, [runId])
      return rows[0] && toRun(rows[0])
    },

    async findEndedRun(runId) {
      const rows = await database.query<RunRow>(findEndedRun, [runId])
      return rows[0] && toRun(rows[0])
    },

    async renewLease(runId, epoch, leaseMs) {
      return (await reserved.query(renewLease, [runId, epoch, leaseMs])).length === 1
    },

    async recordPoint(runId, epoch, point) {
      return (await reserved.query(recordPoint, [runId, epoch, JSON.stringify(point)])).length === 1
    },

    async endRun({ runId, epoch, status, result, errorReason, error, acted, notifyAfterMs, event }) {
      const rows = await reserved.query<RunRow>(endRun, [
        runId,
        epoch,
        status,
        result ?? null,
        errorReason ?? null,
        error ?? null,
        notifyAfterMs,
        event.eventId,
        JSON.stringify(event),
        acted,
      ])
      if (rows.length > 0) audited()
      return rows[0] && toRun(rows[0])
    },

    async endLate({ runId, epoch, status, result, errorReason, error, notifyAfterMs, event }) {
      const values = [
        runId,
        epoch,
        status,
        result ?? null,
        errorReason ?? null,
        error ?? null,
        notifyAfterMs,
        event.eventId,
        JSON.stringify(event),
      ]
      const [row] = await reserved.query<RunRow & { was: RunStatus }>(endLate, values)
      if (row === undefined) return undefined
      audited()
      return { run: toRun(row), was: row.was }
    },

    beat: (timing) => beat(reserved, beatRow, timing),

    async claimExpiredRuns({ limit, leaseMs, gapMs, except }) {
      return (await reserved.query<RunRow>(claimExpiredRuns, [limit, leaseMs, gapMs, except])).map(toRun)
    },

    async claimPending({ limit, retryMs }) {
      const rows = await reserved.query<PendingRow>(claimPending, [limit, retryMs])
      return rows.map((row) => {
        const key: RunKey = { workspace: row.workspace, kind: row.key_kind, key: row.key }
        return { runId: row.run_id, key, attempts: row.attempts, traceId: row.trace_id, spanId: row.span_id }
      })
    },

    async told(runIds) {
      await reserved.query(told, [runIds])
    },

    async pending() {
      const [row] = await reserved.query<{ count: number; lag: number }>(pending)
      return { count: row!.count, lagMs: row!.lag }
    },
  }
}
