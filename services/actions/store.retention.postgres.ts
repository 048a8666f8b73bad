import type { Database } from '#mesh/postgres/database.ts'
import { statementMaker } from '#mesh/postgres/statement.ts'
import type { RunPruner } from './retention.ts'
import { detailsExpired } from './runs/run-row.ts'

const statement = statementMaker('actions.')

/**
 * Runs that ended, and were reported, before one time that bounds the index search. It counts, because a join would read the whole other
 * table.
 */
const longOver = `ended_at < (SELECT clock_timestamp() - $1::float8 * interval '1 millisecond')
       AND (told_at IS NULL OR told_at < (SELECT clock_timestamp() - $1::float8 * interval '1 millisecond'))
       AND (SELECT count(*) FROM outbox WHERE outbox.run_id = runs.run_id) = 0`

/** In a form that the previous release reads like every run. */
const removeDetails = statement(
  'remove-run-details',
  `UPDATE runs SET params = '{}', result = NULL, recovery = NULL, error = error_reason || '${detailsExpired}',
     settled_reason = left(settled_reason, 0), details_removed_at = clock_timestamp()
   WHERE run_id = ANY (ARRAY (
     SELECT run_id FROM runs WHERE details_removed_at IS NULL AND ${longOver} ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED))
   RETURNING run_id`,
)
const deleteRuns = statement(
  'delete-runs',
  `DELETE FROM runs WHERE run_id = ANY (ARRAY (
     SELECT run_id FROM runs WHERE ${longOver} AND (SELECT count(*) FROM previews WHERE previews.preview_id = runs.preview_id) = 0
     ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED))
   RETURNING run_id`,
)

export const postgresRunPruner = (database: Database): RunPruner => ({
  removeDetails: async (olderThanMs, limit) => (await database.query(removeDetails, [olderThanMs, limit])).length,
  deleteRuns: async (olderThanMs, limit) => (await database.query(deleteRuns, [olderThanMs, limit])).length,
})
