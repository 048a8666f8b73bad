/**
 * The chains in Postgres, read and appended with SELECT and INSERT only. A writer holds the advisory lock of a chain until its rows are
 * committed, so that sequences have no gaps and every snapshot of a chain is a prefix of it. All writers take the locks of several chains
 * in one order, so they cannot deadlock.
 */
import { createHash } from 'node:crypto'
import type { AuditEvent } from '#mesh/audit/event.ts'
import type { Database, Queries } from '#mesh/postgres/database.ts'
import { statementMaker } from '#mesh/postgres/statement.ts'
import type { Chain, Entry, Link } from './chain.ts'
import { insertedColumns, insertedRow } from './entry-row.ts'
import { listEntries } from './store.list.postgres.ts'
import type { AuditStore, EntryPage, EntryQuery } from './store.ts'

/** If two chains take the same event at once, one of them fails and then finds that the event was taken. */
const maxRaces = 5

export class PostgresAuditStore implements AuditStore {
  readonly #database: Database
  readonly #reads: Database
  readonly #chain: Chain

  /** `reads` is for lists; the same as `database` if unset. */
  constructor(parts: { database: Database; reads?: Database; chain: Chain }) {
    this.#database = parts.database
    this.#reads = parts.reads ?? parts.database
    this.#chain = parts.chain
  }

  async append(events: readonly AuditEvent[]): Promise<Entry[]> {
    if (events.length === 0) return []
    for (let race = 1; ; race += 1) {
      try {
        return await this.#database.transaction((queries) => this.#append(queries, events))
      } catch (error) {
        if (race === maxRaces || !isTakenTwice(error)) throw error
      }
    }
  }

  list(query: EntryQuery): Promise<EntryPage> {
    return listEntries(this.#reads, query)
  }

  async #append(queries: Queries, events: readonly AuditEvent[]): Promise<Entry[]> {
    const workspaces = [...new Set(events.map(({ workspace }) => workspace))]
    await lockChains(queries, workspaces)
    // After the lock, because a statement sees what was committed when it began.
    const known = await queries.query<{ event_id: string }>(statements.known, [events.map(({ eventId }) => eventId)])
    const taken = new Set(known.map(({ event_id: id }) => id))
    const ends = await this.#ends(queries, workspaces)
    const entries: Entry[] = []
    for (const event of events) {
      if (taken.has(event.eventId)) continue
      taken.add(event.eventId)
      const end = ends.get(event.workspace)!
      const entry = this.#chain.next(end.link, event, end.now)
      end.link = entry
      entries.push(entry)
    }
    if (entries.length > 0) await queries.query(statements.insert, [JSON.stringify(entries.map(insertedRow))])
    return entries
  }

  /** The end of each chain: its last entry, or the checkpoint that replaced all entries. */
  async #ends(queries: Queries, workspaces: readonly string[]): Promise<Map<string, { link: Link; now: string }>> {
    const rows = await queries.query<EndRow>(statements.ends, [workspaces])
    return new Map(
      rows.map(({ workspace, sequence, mac, now }) => {
        const link = sequence === null || mac === null ? this.#chain.origin(workspace) : { sequence, mac }
        return [workspace, { link, now: new Date(now).toISOString() }]
      }),
    )
  }
}

interface EndRow {
  workspace: string
  sequence: number | null
  mac: Buffer | null
  now: number
}

/** Waits until no other transaction appends to these chains or shortens them, and locks them until the transaction ends. */
export async function lockChains(queries: Queries, workspaces: readonly string[]): Promise<void> {
  const keys = workspaces.map(lockOf).toSorted((one, other) => (one < other ? -1 : one > other ? 1 : 0))
  await queries.query(statements.lock, [keys.map(String)])
}

const lockOf = (workspace: string): bigint => createHash('sha256').update(`relay audit chain ${workspace}`).digest().readBigInt64BE(0)

/** unique_violation of the event's id, https://www.postgresql.org/docs/current/errcodes-appendix.html. */
function isTakenTwice(error: unknown): boolean {
  const { code, constraint } = error as { code?: unknown; constraint?: unknown }
  return code === '23505' && constraint === 'audit_events_taken_once'
}

const statement = statementMaker('audit ')

const statements = {
  /** One after the other, in the order of the list. */
  lock: statement('lock', 'SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS key'),
  known: statement('known', 'SELECT event_id FROM audit_events WHERE event_id = ANY ($1::uuid[])'),
  ends: statement(
    'ends',
    `SELECT workspace, coalesce(entry.sequence, checkpoint.sequence)::float8 AS sequence, coalesce(entry.mac, checkpoint.mac) AS mac,
       floor(extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now
     FROM unnest($1::text[]) AS workspace
     LEFT JOIN LATERAL (
       SELECT sequence, mac FROM audit_events WHERE audit_events.workspace = workspace.workspace ORDER BY sequence DESC LIMIT 1
     ) AS entry ON true
     LEFT JOIN LATERAL (
       SELECT sequence, mac FROM audit_checkpoints WHERE audit_checkpoints.workspace = workspace.workspace ORDER BY sequence DESC LIMIT 1
     ) AS checkpoint ON true`,
  ),
  insert: statement('insert', `INSERT INTO audit_events SELECT * FROM json_to_recordset($1::json) AS entry (${insertedColumns})`),
}
