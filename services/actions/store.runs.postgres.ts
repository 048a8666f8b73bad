import type { Database } from '#mesh/postgres/database.ts'
import { type Statement, statementMaker } from '#mesh/postgres/statement.ts'
import { type RunReader, detailBytes, largeBytes } from './runs/run-reader.ts'
import { type RunRow, fromJson, runColumns, settlementColumns, toRun, toSettlement } from './runs/run-row.ts'
import type { ListedRun } from './runs/run-view.ts'

const statement = statementMaker('actions.')

type SummaryRow = Pick<
  RunRow,
  | 'run_id'
  | 'preview_id'
  | 'workspace'
  | 'actor'
  | 'action'
  | 'provider'
  | 'status'
  | 'result'
  | 'error_reason'
  | 'error'
  | 'started_at'
  | 'ended_at'
  | 'details_removed_at'
  | 'settled_verdict'
  | 'settled_reason'
  | 'settled_by'
  | 'settled_at'
> & { params: Buffer | null }

type ListedRow = SummaryRow & { cursor: string }

/** Postgres knows the length of a value without reading it: a value that is too large is never fetched. */
const fits = `octet_length(params) + coalesce(octet_length(result), 0) <= $2`
const summaryColumns = `run_id, preview_id, workspace, actor, action, provider, status, error_reason, started_at, ended_at, details_removed_at,
  ${settlementColumns}, CASE WHEN ${fits} THEN params END AS params, CASE WHEN ${fits} THEN result END AS result`
const listedColumns = `${summaryColumns}, left(error, 1000) AS error, (extract(epoch FROM started_at) * 1000000)::bigint::text AS cursor`

/** A statement per set of filters, so that each gets its own plan. */
function listing(filters: { status: boolean; after: boolean }): Statement {
  const name = ['list-runs', filters.status && 'by-status', filters.after && 'after'].filter(Boolean).join('-')
  const where = ['workspace = $1']
  if (filters.status) where.push('status = $4')
  const end = filters.status ? 5 : 4
  if (filters.after)
    where.push(`(started_at, run_id) < ('epoch'::timestamptz + $${end}::bigint * interval '1 microsecond', $${end + 1}::uuid)`)
  return statement(name, `SELECT ${listedColumns} FROM runs WHERE ${where.join(' AND ')} ORDER BY started_at DESC, run_id DESC LIMIT $3`)
}

const statements = {
  list: listing({ status: false, after: false }),
  listAfter: listing({ status: false, after: true }),
  listByStatus: listing({ status: true, after: false }),
  listByStatusAfter: listing({ status: true, after: true }),
  summary: statement('read-run-summary', `SELECT ${summaryColumns}, error FROM runs WHERE run_id = $1`),
  read: statement('read-run', `SELECT ${runColumns} FROM runs WHERE run_id = $1`),
}

/** `database` is for this alone: readers wait only for readers. */
export function postgresRunReader(database: Database): RunReader {
  return {
    async findSummary(runId) {
      const [row] = await database.query<SummaryRow>(statements.summary, [runId, largeBytes])
      return row && toListed(row)
    },

    async find(runId) {
      const [row] = await database.query<RunRow>(statements.read, [runId])
      return row && toRun(row)
    },

    async list({ workspace, status, limit, after }) {
      const [first, later] =
        status === undefined ? [statements.list, statements.listAfter] : [statements.listByStatus, statements.listByStatusAfter]
      const values: unknown[] = [workspace, detailBytes(limit), limit + 1]
      if (status !== undefined) values.push(status)
      if (after !== undefined) values.push(after.atUs, after.id)
      const rows = await database.query<ListedRow>(after === undefined ? first : later, values)
      const page = rows.slice(0, limit)
      const last = page.at(-1)
      const next = rows.length > limit && last !== undefined ? { atUs: last.cursor, id: last.run_id } : undefined
      return { runs: page.map(toListed), next }
    },
  }
}

const toListed = (row: SummaryRow): ListedRun => ({
  runId: row.run_id,
  previewId: row.preview_id,
  workspace: row.workspace,
  actor: row.actor,
  action: row.action,
  provider: row.provider,
  status: row.status,
  errorReason: row.error_reason ?? undefined,
  error: row.error ?? undefined,
  startedAt: row.started_at,
  endedAt: row.ended_at ?? undefined,
  detailsRemoved: row.details_removed_at !== null,
  settlement: toSettlement(row),
  details: row.params === null ? undefined : { params: row.params, result: fromJson(row.result) },
})
