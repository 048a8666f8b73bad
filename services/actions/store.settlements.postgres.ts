import type { Database } from '#mesh/postgres/database.ts'
import { statementMaker } from '#mesh/postgres/statement.ts'
import { type RunRow, runColumns, toRun } from './runs/run-row.ts'
import type { SettlementStore } from './runs/settlement.ts'

const statement = statementMaker('actions.')

/** A statement that waits here for the row of another settlement, or of an owner's late result, evaluates it again as that left it. */
const settleRun = statement(
  'settle-run',
  `WITH settled AS (
     UPDATE runs SET status = $3, error_reason = $4, error = $5, settled_verdict = $6, settled_reason = $7, settled_by = $8, settled_at = clock_timestamp()
     WHERE run_id = $1 AND workspace = $2 AND status = 'unknown' AND settled_at IS NULL RETURNING ${runColumns}),
   audited AS (INSERT INTO audit_outbox (event_id, event) SELECT $9::uuid, $10 FROM settled)
   SELECT * FROM settled`,
)
const findRun = statement('find-run-to-settle', `SELECT ${runColumns} FROM runs WHERE run_id = $1`)

/** `audited` is called whenever an audit event was written. */
export function postgresSettlementStore(database: Database, audited: () => void = () => undefined): SettlementStore {
  return {
    async settle({ runId, workspace, status, errorReason, error, verdict, reason, settledBy, event }) {
      const [row] = await database.query<RunRow>(settleRun, [
        runId,
        workspace,
        status,
        errorReason ?? null,
        error ?? null,
        verdict,
        reason,
        settledBy,
        event.eventId,
        JSON.stringify(event),
      ])
      if (row === undefined) return undefined
      audited()
      return toRun(row)
    },

    async find(runId) {
      const [row] = await database.query<RunRow>(findRun, [runId])
      return row && toRun(row)
    },
  }
}
