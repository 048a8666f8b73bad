/**
 * The row of the replicas' heartbeat (../heartbeat.ts). The table is the service's own, created by one of its migrations:
 *
 *   CREATE TABLE heartbeat (
 *     only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
 *     beat_at      timestamptz NOT NULL,
 *     steady_since timestamptz NOT NULL
 *   );
 */
import type { HeartbeatResult, Timing } from '../heartbeat.ts'
import type { Queries } from './database.ts'
import type { Statement, statementMaker } from './statement.ts'

const within = (parameter: string) => `BETWEEN interval '0' AND ${parameter}::float8 * interval '1 millisecond'`

/** The time is read while the row is locked: concurrent updates see each other. */
export const beatStatement = (statement: ReturnType<typeof statementMaker>): Statement =>
  statement(
    'beat',
    `INSERT INTO heartbeat AS seen (beat_at, steady_since) SELECT at, at FROM (SELECT clock_timestamp() AS at OFFSET 0) AS now
     ON CONFLICT (only_row) DO UPDATE SET (beat_at, steady_since) = (
       SELECT at, CASE WHEN at - seen.beat_at ${within('$1')} THEN seen.steady_since ELSE at END
       FROM (SELECT clock_timestamp() AS at OFFSET 0) AS now)
     WHERE NOT clock_timestamp() - seen.beat_at ${within('$2')}
     RETURNING beat_at = steady_since AS after_gap`,
  )

/** `statement` is one of beatStatement. */
export async function beat(queries: Queries, statement: Statement, { gapMs, restMs }: Timing): Promise<HeartbeatResult> {
  const [row] = await queries.query<{ after_gap: boolean }>(statement, [gapMs, restMs])
  return { afterGap: row?.after_gap ?? false }
}

/**
 * For the WITH of a statement that takes over: `(SELECT at FROM steady)` is the time by which leases are judged, null without evidence for
 * the length of a lease. It is one time for both: a server that stalls in the middle takes nothing that it would not have taken before.
 * `lease` and `gap` are parameters in milliseconds, such as `$2`.
 */
export const hasBeatenFor = ({ lease, gap }: { lease: string; gap: string }): string =>
  `now AS MATERIALIZED (SELECT clock_timestamp() AS at),
   steady AS MATERIALIZED (
     SELECT at FROM now, heartbeat WHERE at - beat_at ${within(gap)} AND steady_since <= at - ${lease}::float8 * interval '1 millisecond')`
