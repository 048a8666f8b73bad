/** The chains in Postgres: read in one snapshot, and shortened by the retention role. */
import type { Database, Queries } from '#mesh/postgres/database.ts'
import { type Statement, statementMaker } from '#mesh/postgres/statement.ts'
import type { Entry, Link, Statement as Stated } from './chain.ts'
import { type EntryRow, type StatementRow, entryColumns, entryOf, statementColumns, statementOf } from './entry-row.ts'
import { lockChains } from './store.postgres.ts'
import type { ChainCutter, ChainReader, ChainView, CutRequest } from './store.ts'

/** Rows that are held at a time. */
const page = 1000

export class PostgresChains implements ChainReader, ChainCutter {
  readonly #database: Database

  /** `look` needs one connection while it runs; none of its statements runs long. */
  constructor(parts: { database: Database }) {
    this.#database = parts.database
  }

  look<T>(work: (view: ChainView) => Promise<T>): Promise<T> {
    return this.#database.transaction(async (queries) => {
      await queries.query(statements.oneMoment)
      return work(new View(queries))
    })
  }

  async workspacesOlderThan(ageMs: number): Promise<string[]> {
    const found: string[] = []
    for await (const workspace of workspacesOf(this.#database)) {
      const [first] = await this.#database.query<{ old: boolean }>(statements.first, [workspace, ageMs])
      if (first?.old === true) found.push(workspace)
    }
    return found
  }

  cut({ workspace, ageMs, max, state }: CutRequest): Promise<number> {
    return this.#database.transaction(async (queries) => {
      await lockChains(queries, [workspace])
      const [before] = await queries.query<StatementRow>(statements.lastCheckpoint, [workspace])
      const rows = await queries.query<EntryRow & { old: boolean; now: number }>(statements.oldest, [workspace, max, ageMs])
      const end = rows.findIndex(({ old }) => !old)
      const cut = end === -1 ? rows : rows.slice(0, end)
      if (cut.length === 0) return 0
      const at = new Date(cut[0]!.now).toISOString()
      const checkpoint = state(before === undefined ? undefined : statementOf(before), cut.map(entryOf), at)
      const { sequence, mac, seal } = checkpoint
      await queries.query(statements.addCheckpoint, [workspace, sequence, mac, at, seal])
      await queries.query(statements.remove, [workspace, sequence])
      return cut.length
    })
  }
}

class View implements ChainView {
  readonly #queries: Queries

  constructor(queries: Queries) {
    this.#queries = queries
  }

  workspaces(): AsyncIterable<string> {
    return workspacesOf(this.#queries)
  }

  async *checkpoints(workspace: string): AsyncIterable<Stated> {
    for await (const row of this.#rows<StatementRow>(cursors.checkpoints, workspace)) yield statementOf(row)
  }

  async *entries(workspace: string): AsyncIterable<Entry> {
    for await (const row of this.#rows<EntryRow>(cursors.entries, workspace)) yield entryOf(row)
  }

  async last(workspace: string): Promise<Link | undefined> {
    const [row] = await this.#queries.query<{ sequence: number; mac: Buffer }>(statements.last, [workspace])
    return row
  }

  async macs(workspace: string, sequences: readonly number[]): Promise<Map<number, Buffer>> {
    const rows = await this.#queries.query<{ sequence: number; mac: Buffer }>(statements.macs, [workspace, sequences])
    return new Map(rows.map(({ sequence, mac }) => [sequence, mac]))
  }

  /** Reads by a cursor, so that it sees every row even if the unique constraint on sequences was removed. */
  async *#rows<Row extends object>({ open, fetch, close }: Cursor, workspace: string): AsyncIterable<Row> {
    await this.#queries.query(statements.choose, [workspace])
    await this.#queries.query(open)
    try {
      for (let rows: Row[]; (rows = await this.#queries.query<Row>(fetch)).length > 0;) yield* rows
    } finally {
      // After a failed query the transaction is over, and the cursor with it.
      await this.#queries.query(close).catch(() => undefined)
    }
  }
}

/** Looks up the next workspace each time: the tables are long and the workspaces few. */
async function* workspacesOf(queries: Queries): AsyncIterable<string> {
  let last: string | undefined
  for (;;) {
    const [which, values]: [Statement, string[]] = last === undefined ? [statements.firstWorkspace, []] : [statements.nextWorkspace, [last]]
    const [row]: { workspace: string | null }[] = await queries.query<{ workspace: string | null }>(which, values)
    if (row?.workspace === null || row === undefined) return
    yield row.workspace
    last = row.workspace
  }
}

const statement = statementMaker('audit chain ')

interface Cursor {
  readonly open: Statement
  readonly fetch: Statement
  readonly close: Statement
}

/** A cursor's declaration takes no parameters, so the workspace is a setting of the transaction. */
const cursorOf = (table: string, columns: string): Cursor => ({
  open: statement(
    `open ${table}`,
    `DECLARE ${table}_cursor NO SCROLL CURSOR FOR SELECT ${columns} FROM ${table}
     WHERE workspace = current_setting('relay.workspace') ORDER BY ${table}.sequence`,
  ),
  fetch: statement(`fetch ${table}`, `FETCH ${page} FROM ${table}_cursor`),
  close: statement(`close ${table}`, `CLOSE ${table}_cursor`),
})

const cursors = { entries: cursorOf('audit_events', entryColumns), checkpoints: cursorOf('audit_checkpoints', statementColumns) }

const older = (place: string): string => `recorded_at < clock_timestamp() - ${place}::float8 * interval '1 millisecond' AS old`

const statements = {
  oneMoment: statement('one moment', 'SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY'),
  nextWorkspace: statement(
    'next workspace',
    `SELECT min(workspace) AS workspace FROM (
       (SELECT workspace FROM audit_events WHERE workspace > $1 ORDER BY workspace LIMIT 1)
       UNION ALL
       (SELECT workspace FROM audit_checkpoints WHERE workspace > $1 ORDER BY workspace LIMIT 1)
     ) AS next`,
  ),
  firstWorkspace: statement(
    'first workspace',
    `SELECT min(workspace) AS workspace FROM (
       (SELECT workspace FROM audit_events ORDER BY workspace LIMIT 1)
       UNION ALL
       (SELECT workspace FROM audit_checkpoints ORDER BY workspace LIMIT 1)
     ) AS first`,
  ),
  choose: statement('choose', `SELECT set_config('relay.workspace', $1, true)`),
  last: statement(
    'last',
    `SELECT sequence::float8 AS sequence, coalesce(mac, '') AS mac FROM (
       (SELECT sequence, mac FROM audit_events WHERE workspace = $1 ORDER BY sequence DESC LIMIT 1)
       UNION ALL
       (SELECT sequence, mac FROM audit_checkpoints WHERE workspace = $1 ORDER BY sequence DESC LIMIT 1)
     ) AS last ORDER BY last.sequence DESC LIMIT 1`,
  ),
  macs: statement(
    'macs',
    `SELECT sequence::float8 AS sequence, coalesce(mac, '') AS mac FROM audit_events
     WHERE workspace = $1 AND sequence = ANY ($2::bigint[])`,
  ),
  first: statement('first', `SELECT ${older('$2')} FROM audit_events WHERE workspace = $1 ORDER BY sequence LIMIT 1`),
  lastCheckpoint: statement(
    'last checkpoint',
    `SELECT ${statementColumns} FROM audit_checkpoints WHERE workspace = $1 ORDER BY audit_checkpoints.sequence DESC LIMIT 1`,
  ),
  oldest: statement(
    'oldest',
    `SELECT ${entryColumns}, ${older('$3')}, floor(extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now
     FROM audit_events WHERE workspace = $1 ORDER BY audit_events.sequence LIMIT $2`,
  ),
  addCheckpoint: statement(
    'add checkpoint',
    'INSERT INTO audit_checkpoints (workspace, sequence, mac, at, seal) VALUES ($1, $2, $3, $4, $5)',
  ),
  remove: statement('remove', 'DELETE FROM audit_events WHERE workspace = $1 AND sequence <= $2'),
}
