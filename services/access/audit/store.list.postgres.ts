/**
 * Lists of entries, by filters and in the order of the chain. A walk along the chain reads a limited number of entries, whatever it finds:
 * it reports how far it came, and the next one continues there.
 *
 * Entries that occurred in a period are close together in the chain, except for those that were reported late or by a wrong clock. Those
 * entries have their own index. So a list walks the whole chain only within the period, and before and after it only along that index.
 */
import type { Queries } from '#mesh/postgres/database.ts'
import { type Statement, statementMaker } from '#mesh/postgres/statement.ts'
import { type EntryRow, entryColumns, entryOf } from './entry-row.ts'
import type { Entry } from './chain.ts'
import type { EntryFilter, EntryPage, EntryQuery } from './store.ts'

/** Maximum entries that one walk reads. */
const maxWalked = 5000
/** Maximum walks per page. */
const maxWalks = 10
/** All sequences are lower than this. */
const endOfChain = 2 ** 32

/** A part of the chain, without its ends. `displaced`: only entries that were recorded long before or after they occurred. */
interface Span {
  readonly low: number
  readonly high: number
  readonly displaced: boolean
}

/** Needs no key. A page may have fewer entries than `limit`, even none, although more pages follow. */
export async function listEntries(queries: Queries, { workspace, filter, order, limit, after }: EntryQuery): Promise<EntryPage> {
  const isNewestFirst = order === 'newest first'
  const spans = await spansOf(queries, workspace, filter)
  const entries: Entry[] = []
  let position = after
  let walks = 0
  for (const span of isNewestFirst ? spans.toReversed() : spans) {
    const end = isNewestFirst ? span.low + 1 : span.high - 1
    for (;;) {
      const low = isNewestFirst ? span.low : Math.max(span.low, position ?? 0)
      const high = isNewestFirst ? Math.min(span.high, position ?? endOfChain) : span.high
      if (high - low < 2) break
      if (walks === maxWalks) return { entries, next: position }
      walks += 1
      const { statement, values } = walk(filter, order, span.displaced)
      const rows = await queries.query<WalkedRow>(statement, [workspace, low, high, limit + 1 - entries.length, ...values])
      for (const row of rows) if (row.event_id !== null) entries.push(entryOf(row as EntryRow))
      if (entries.length > limit) return { entries: entries.slice(0, limit), next: entries[limit - 1]!.sequence }
      position = rows[0]?.reached ?? end
    }
  }
  return { entries, next: undefined }
}

/** The parts of the chain that may hold entries of the period, the oldest first. */
async function spansOf(queries: Queries, workspace: string, { from, until, target }: EntryFilter): Promise<Span[]> {
  // A list with a target searches by the target.
  if (target !== undefined) return [{ low: 0, high: endOfChain, displaced: false }]
  const sequenceOf = async (statement: Statement, time: string | undefined): Promise<number | undefined> =>
    time === undefined ? undefined : (await queries.query<{ sequence: number }>(statement, [workspace, time]))[0]?.sequence
  const before = (await sequenceOf(statements.lastBefore, from)) ?? 0
  const beyond = (await sequenceOf(statements.firstBeyond, until)) ?? endOfChain
  // The store's clock was set back: the order says nothing.
  if (before >= beyond) return [{ low: 0, high: endOfChain, displaced: false }]
  return [
    { low: 0, high: before + 1, displaced: true },
    { low: before, high: beyond, displaced: false },
    { low: beyond - 1, high: endOfChain, displaced: true },
  ]
}

/** `reached`: the entry at which the walk ended, unless that is the end of its span. At least one row, possibly without an entry. */
type WalkedRow = { [Column in keyof EntryRow]: EntryRow[Column] | null } & { reached: number | null }

const conditions: Record<keyof EntryFilter, (place: string) => string> = {
  action: (place) => `action = ${place}`,
  outcome: (place) => `outcome = ${place}`,
  actor: (place) => `actor = ${place}`,
  keyId: (place) => `key_id = ${place}`,
  target: (place) => `targets @> ARRAY[${place}::text]`,
  from: (place) => `occurred_at >= ${place}::timestamptz`,
  until: (place) => `occurred_at < ${place}::timestamptz`,
}
/** Fields with an index in the order of the chain, the most selective first. */
const indexed = ['keyId', 'actor', 'action', 'outcome'] as const

/** One statement per set of filters, each with its own plan: of 2⁷ sets, two orders and two kinds of span, few are ever used. */
function walk(filter: EntryFilter, order: EntryQuery['order'], displaced: boolean): { statement: Statement; values: unknown[] } {
  const given = (Object.keys(conditions) as (keyof EntryFilter)[]).filter((field) => filter[field] !== undefined)
  const values: unknown[] = given.map((field) => filter[field])
  const conditionOf = (field: keyof EntryFilter): string => conditions[field](`$${given.indexOf(field) + 5}`)
  const set = Object.keys(conditions).map((field) => Number(given.includes(field as keyof EntryFilter)))
  // Postgres distinguishes statement names by 63 characters.
  const name = `list ${order} ${set.join('')}${displaced ? ' displaced' : ''}`
  const direction = order === 'newest first' ? 'DESC' : 'ASC'
  const inSpan = 'workspace = $1 AND sequence > $2::bigint AND sequence < $3::bigint'

  // The index of targets has no order. The planner on its own would walk the whole chain in the hope of an early end, so the statement
  // first finds the entries with the target and then sorts only those.
  if (given.includes('target')) {
    const found = `WITH found AS MATERIALIZED (SELECT * FROM audit_events WHERE ${conditionOf('target')} AND workspace = $1)`
    const where = [inSpan, ...given.map(conditionOf)].join(' AND ')
    const text = `${found} SELECT ${entryColumns}, NULL::float8 AS reached FROM found AS audit_events WHERE ${where}
      ORDER BY audit_events.sequence ${direction} LIMIT $4`
    return { statement: statement(name, text), values }
  }

  const along = displaced ? undefined : indexed.find((field) => given.includes(field))
  const walked = [inSpan, ...(displaced ? [isDisplaced] : []), ...(along === undefined ? [] : [conditionOf(along)])].join(' AND ')
  const rest = given.filter((field) => field !== along).map(conditionOf)
  if (rest.length === 0) {
    const text = `SELECT ${entryColumns}, NULL::float8 AS reached FROM audit_events WHERE ${walked} ORDER BY audit_events.sequence ${direction} LIMIT $4`
    return { statement: statement(name, text), values }
  }
  const within = order === 'newest first' ? 'sequence >= coalesce(reached.at, $2::bigint)' : 'sequence <= coalesce(reached.at, $3::bigint)'
  const text = `SELECT reached.at::float8 AS reached, entry.* FROM (SELECT (
      SELECT sequence FROM audit_events WHERE ${walked} ORDER BY sequence ${direction} OFFSET ${maxWalked - 1} LIMIT 1) AS at) AS reached
    LEFT JOIN LATERAL (
      SELECT ${entryColumns} FROM audit_events WHERE ${[walked, within, ...rest].join(' AND ')} ORDER BY audit_events.sequence ${direction} LIMIT $4
    ) AS entry ON true ORDER BY entry.sequence ${direction}`
  return { statement: statement(name, text), values }
}

const statement = statementMaker('audit ')

/** Ten minutes, as in the index. */
const isDisplaced = `CASE WHEN isfinite(recorded_at) AND isfinite(occurred_at)
  THEN recorded_at - occurred_at NOT BETWEEN interval '-10 minutes' AND interval '10 minutes' ELSE true END`
/**
 * For entries that are not displaced: if one occurred more than twenty minutes before another, it was also recorded before it, and comes
 * before it in the chain. A batch of this size nearly always has one.
 */
const notDisplaced = (condition: string, direction: 'ASC' | 'DESC') =>
  `SELECT sequence::float8 AS sequence FROM (
     SELECT sequence, recorded_at, occurred_at FROM audit_events WHERE workspace = $1 AND ${condition} ORDER BY occurred_at ${direction} LIMIT 1000
   ) AS close WHERE NOT ${isDisplaced} LIMIT 1`

const statements = {
  lastBefore: statement('last before', notDisplaced(`occurred_at < $2::timestamptz - interval '20 minutes'`, 'DESC')),
  firstBeyond: statement('first beyond', notDisplaced(`occurred_at >= $2::timestamptz + interval '20 minutes'`, 'ASC')),
}
