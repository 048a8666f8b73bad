/** The states of signature keys in Postgres. A change holds a lock until its row is committed, so that followers miss no number. */
import type { AuditEvent } from '#mesh/audit/event.ts'
import type { Database, Queries } from '#mesh/postgres/database.ts'
import { statementMaker } from '#mesh/postgres/statement.ts'
import type { Purpose } from '#mesh/signature-keys.ts'
import { type KeyState, initialState } from '#mesh/signature-states.ts'
import type { SignatureStore } from './store.ts'

/** Maximum states per response; the next one continues there. */
const maxStates = 2000

export function signatureStore(database: Database): SignatureStore {
  return {
    read: (workspace, purpose) => read(database, workspace, purpose),

    readAudited: (workspace, purpose, event) =>
      database.transaction(async (queries) => {
        const state = await read(queries, workspace, purpose)
        await tell(queries, event(state))
        return state
      }),

    change: (workspace, purpose, decide, event) =>
      database.transaction(async (queries) => {
        await queries.query(statements.lock)
        const before = await read(queries, workspace, purpose)
        const state = decide(before)
        if (state === undefined) return before
        await queries.query(statements.write, [workspace, purpose, state.generation, state.previous ?? null])
        await tell(queries, event(state))
        return state
      }),

    async changedAfter(after) {
      const rows = await database.query<FeedRow>(statements.changedAfter, [after, maxStates + 1])
      const page = rows.slice(0, maxStates)
      const more = rows.length > maxStates
      const states = page.flatMap((row) =>
        row.workspace === null ? [] : [{ workspace: row.workspace, purpose: row.purpose, ...toState(row) }],
      )
      return { states, sequence: more ? page.at(-1)!.sequence : rows[0]!.latest, more }
    },
  }
}

const tell = (queries: Queries, event: AuditEvent) => queries.query(statements.tell, [event.eventId, JSON.stringify(event)])

async function read(queries: Queries, workspace: string, purpose: Purpose): Promise<KeyState> {
  const [row] = await queries.query<Row>(statements.read, [workspace, purpose])
  return row === undefined ? initialState : toState(row)
}

interface Row {
  generation: number
  previous: number | null
}

/** At least one row: the latest number, without a state if there is none. */
interface FeedRow extends Row {
  latest: number
  workspace: string | null
  purpose: Purpose
  sequence: number
}

const toState = ({ generation, previous }: Row): KeyState => ({ generation, previous: previous ?? undefined })

const statement = statementMaker('signature keys ')

const statements = {
  lock: statement('lock', `SELECT pg_advisory_xact_lock(hashtextextended('relay access signature keys', 0))`),
  read: statement('read', `SELECT generation, previous FROM signature_keys WHERE workspace = $1 AND purpose = $2`),
  write: statement(
    'write',
    `INSERT INTO signature_keys (workspace, purpose, generation, previous, sequence)
     VALUES ($1, $2, $3, $4, (SELECT coalesce(max(sequence), 0) + 1 FROM signature_keys))
     ON CONFLICT (workspace, purpose) DO UPDATE
     SET generation = excluded.generation, previous = excluded.previous, sequence = excluded.sequence, changed_at = clock_timestamp()`,
  ),
  tell: statement('tell', `INSERT INTO audit_outbox (event_id, event) VALUES ($1::uuid, $2)`),
  changedAfter: statement(
    'changed after',
    `WITH known AS (SELECT coalesce(max(sequence), 0) AS latest FROM signature_keys)
     SELECT known.latest, later.* FROM known LEFT JOIN LATERAL (
       SELECT workspace, purpose, generation, previous, sequence FROM signature_keys
       WHERE sequence > CASE WHEN $1 > known.latest THEN 0 ELSE $1 END ORDER BY sequence LIMIT $2
     ) AS later ON true ORDER BY later.sequence`,
  ),
}
