/**
 * Claims in Postgres. A step of claim.ts decides on the row that was read, and is written only if the row has not changed meanwhile;
 * otherwise it is read again. The two writes of an ordinary claim, its grant and its completion, are first tried without reading: one
 * statement each, for all calls that arrive together. The calls that those statements leave undone are read and decided like the rest.
 *
 * No transaction waits for a row while it holds one that another may wait for: grants are inserted in the order of their keys, and
 * completions and the reaper skip locked rows.
 */
import { batch } from '#mesh/batch.ts'
import type { Database } from '#mesh/postgres/database.ts'
import { statementMaker } from '#mesh/postgres/statement.ts'
import type { Decision, ClaimRequest, Claim, ClaimKey, Completion, FencedResult, InFlight, Clock, Renewal, Step } from './claim.ts'
import { abandon, claim, complete, release, renew } from './claim.ts'
import { errors } from './errors.ts'
import type { ClaimStore, ExpiredRecords, ExpiredClaims } from './store.ts'

/** For each lost race another call has won and is done, so few are lost in a row. */
const maxRaces = 10
/** Batches of half the size already cost nearly as little per row. */
const maxRows = 50

/** The claim of a key, its version, and the time of the read. */
interface VersionedRow {
  readonly claim: Claim | undefined
  readonly version: number
  readonly at: Clock
}

interface Grant {
  readonly key: ClaimKey
  readonly claim: InFlight
  readonly leaseMs: number
}

interface CompletionRow {
  readonly key: ClaimKey
  readonly completion: Completion
}

export class PostgresClaimStore implements ClaimStore {
  readonly #database: Database
  readonly #retentionMs: number
  /** The assumption for the first write: no claim, as for most keys. Its time is 0, because what is written is a duration from then. */
  readonly #nothing: VersionedRow
  readonly #insert: (grant: Grant) => Promise<boolean>
  readonly #end: (ending: CompletionRow) => Promise<boolean>

  constructor(parts: { database: Database; retentionMs: number }) {
    this.#database = parts.database
    this.#retentionMs = parts.retentionMs
    this.#nothing = { claim: undefined, version: 0, at: { now: 0, retentionMs: parts.retentionMs } }
    this.#insert = batch((grants) => this.#insertAll(grants), { maxBatchSize: maxRows })
    this.#end = batch((endings) => this.#endAll(endings), { maxBatchSize: maxRows })
  }

  claim(key: ClaimKey, asked: ClaimRequest): Promise<Decision> {
    const assumed = asked.fingerprint === undefined ? undefined : this.#nothing
    return this.#take(key, (found, at) => claim(found, asked, at), assumed)
  }

  renew(key: ClaimKey, renewal: Renewal): Promise<FencedResult> {
    return this.#take(key, (found, at) => renew(found, renewal, at))
  }

  async complete(key: ClaimKey, completion: Completion): Promise<FencedResult> {
    if (completion.response === undefined && (await this.#end({ key, completion }))) return 'done'
    return this.#take(key, (found, at) => complete(found, completion, at))
  }

  release(key: ClaimKey, token: string): Promise<FencedResult> {
    return this.#take(key, (found, at) => release(found, token, at))
  }

  async abandon(key: ClaimKey, runId: string): Promise<void> {
    await this.#take(key, (found) => abandon(found, runId))
  }

  async expired({
    kinds,
    expiredForMs,
    limit,
  }: {
    kinds: readonly string[]
    expiredForMs: number
    limit: number
  }): Promise<ExpiredRecords[]> {
    const rows = await this.#database.query<{ workspace: string; key_kind: string; key: string; run_id: string }>(statements.expired, [
      kinds,
      expiredForMs,
      limit,
    ])
    return rows.map(({ workspace, key_kind: kind, key, run_id: runId }) => ({ key: { workspace, kind, key }, runId }))
  }

  async reap(max: number): Promise<number> {
    const [row] = await this.#database.query<{ count: number }>(statements.reap, [this.#retentionMs, max])
    return row!.count
  }

  async expiredClaims(): Promise<ExpiredClaims> {
    const [row] = await this.#database.query<{ count: number; oldest_ms: number }>(statements.expiredClaims)
    return { count: row!.count, oldestMs: row!.oldest_ms }
  }

  /** Takes one step, first on the assumed row if any, and on the actual row if that was wrong. */
  async #take<A>(key: ClaimKey, step: (found: Claim | undefined, at: Clock) => Step<A>, assumed?: VersionedRow): Promise<A> {
    let seen = assumed ?? (await this.#read(key))
    for (let race = 0; race < maxRaces; race += 1) {
      const { answer, next } = step(seen.claim, seen.at)
      if (next === seen.claim || (await this.#write(key, seen, next))) return answer
      seen = await this.#read(key)
    }
    throw errors.CONTENDED()
  }

  async #read({ workspace, kind, key }: ClaimKey): Promise<VersionedRow> {
    const [row] = await this.#database.query<Row>(statements.read, [workspace, kind, key])
    return { claim: claimOf(row!), version: row!.version ?? 0, at: { now: row!.now, retentionMs: this.#retentionMs } }
  }

  /** False if the key no longer holds what was read. */
  async #write(key: ClaimKey, seen: VersionedRow, next: Claim | undefined): Promise<boolean> {
    const leaseMs = next?.state === 'in_flight' ? next.leaseUntil - seen.at.now : null
    if (seen.claim === undefined) return this.#insert({ key, claim: next as InFlight, leaseMs: leaseMs! })
    const was = [key.workspace, key.kind, key.key, seen.claim.token, seen.version]
    if (next === undefined) return (await this.#database.query(statements.remove, was)).length > 0
    const response = next.state === 'completed' ? next.response : undefined
    const becomes = [next.fingerprint, next.runId, next.attemptId, next.token, next.takenOver, leaseMs, response]
    return (await this.#database.query(statements.replace, [...was, ...becomes])).length > 0
  }

  async #insertAll(grants: readonly Grant[]): Promise<boolean[]> {
    const column = <T>(of: (grant: Grant) => T): T[] => grants.map(of)
    const inserted = await this.#database.query<{ token: string }>(statements.insert, [
      ...keyColumns(grants),
      column(({ claim: { fingerprint } }) => fingerprint),
      column(({ claim: { runId } }) => runId),
      column(({ claim: { attemptId } }) => attemptId),
      column(({ claim: { token } }) => token),
      column(({ leaseMs }) => leaseMs),
    ])
    // Of several grants of one key the token shows which was first.
    const tokens = new Set(inserted.map(({ token }) => token))
    return grants.map(({ claim: { token } }) => tokens.has(token))
  }

  async #endAll(endings: readonly CompletionRow[]): Promise<boolean[]> {
    const ended = await this.#database.query<{ place: number }>(statements.end, [
      ...keyColumns(endings),
      endings.map(({ completion: { runId } }) => runId),
      endings.map(({ completion: { token } }) => token ?? null),
    ])
    const places = new Set(ended.map(({ place }) => place))
    return endings.map((_, index) => places.has(index + 1))
  }
}

const keyColumns = (items: readonly { key: ClaimKey }[]): string[][] => [
  items.map(({ key }) => key.workspace),
  items.map(({ key }) => key.kind),
  items.map(({ key }) => key.key),
]

interface Row {
  now: number
  version: number | null
  fingerprint: Buffer
  run_id: string
  attempt_id: string
  token: string
  taken_over: boolean
  lease_until: number | null
  completed_at: number | null
  response: Buffer | null
}

function claimOf(row: Row): Claim | undefined {
  if (row.version === null) return undefined
  const { fingerprint, run_id: runId, attempt_id: attemptId, token, taken_over: takenOver } = row
  const held = { fingerprint, runId, attemptId, token, takenOver }
  return row.completed_at === null
    ? { ...held, state: 'in_flight', leaseUntil: row.lease_until! }
    : { ...held, state: 'completed', completedAt: row.completed_at, response: row.response ?? undefined }
}

const statement = statementMaker('claims ')

const statements = {
  /** At least one row: the time, and the claim if there is one. */
  read: statement(
    'read',
    `SELECT extract(epoch FROM clock_timestamp())::float8 * 1000 AS now, version, fingerprint, run_id, attempt_id, token, taken_over,
       extract(epoch FROM lease_until)::float8 * 1000 AS lease_until,
       extract(epoch FROM completed_at)::float8 * 1000 AS completed_at, response
     FROM (VALUES ($1, $2, $3)) AS asked (workspace, key_kind, key) LEFT JOIN claims USING (workspace, key_kind, key)`,
  ),
  insert: statement(
    'insert',
    `INSERT INTO claims (workspace, key_kind, key, fingerprint, run_id, attempt_id, token, lease_until)
     SELECT workspace, key_kind, key, fingerprint, run_id, attempt_id, token, clock_timestamp() + lease_ms * interval '1 millisecond'
     FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::uuid[], $6::uuid[], $7::uuid[], $8::float8[])
       AS asked (workspace, key_kind, key, fingerprint, run_id, attempt_id, token, lease_ms)
     ORDER BY workspace, key_kind, key
     ON CONFLICT DO NOTHING
     RETURNING token`,
  ),
  replace: statement(
    'replace',
    `UPDATE claims SET version = version + 1, fingerprint = $6, run_id = $7, attempt_id = $8, token = $9, taken_over = $10,
       lease_until = clock_timestamp() + $11::float8 * interval '1 millisecond',
       completed_at = CASE WHEN $11 IS NULL THEN clock_timestamp() END,
       response = $12
     WHERE workspace = $1 AND key_kind = $2 AND key = $3 AND token = $4 AND version = $5
     RETURNING version`,
  ),
  remove: statement(
    'remove',
    `DELETE FROM claims WHERE workspace = $1 AND key_kind = $2 AND key = $3 AND token = $4 AND version = $5 RETURNING version`,
  ),
  /**
   * Completes those in flight that belong to the run, and to the token if one is given; returns their positions in the list. Each is looked
   * up by itself: a join planned while the table was small would still scan it after it has grown.
   */
  end: statement(
    'end',
    `UPDATE claims SET version = version + 1, lease_until = NULL, completed_at = clock_timestamp()
     FROM (
       SELECT held.ctid, asked.place::int
       FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::uuid[]) WITH ORDINALITY
         AS asked (workspace, key_kind, key, run_id, token, place),
       LATERAL (
         SELECT ctid FROM claims
         WHERE workspace = asked.workspace AND key_kind = asked.key_kind AND key = asked.key
           AND run_id = asked.run_id AND token = coalesce(asked.token, token) AND completed_at IS NULL
         FOR UPDATE SKIP LOCKED
       ) AS held
     ) AS ending
     WHERE claims.ctid = ending.ctid
     RETURNING ending.place`,
  ),
  /** The time is computed once, so that it can bound the search in the index. */
  reap: statement(
    'reap',
    `WITH reaped AS (
       DELETE FROM claims WHERE ctid = ANY (ARRAY (
         SELECT ctid FROM claims
         WHERE completed_at <= (SELECT clock_timestamp() - $1::float8 * interval '1 millisecond')
         ORDER BY completed_at LIMIT $2
         FOR UPDATE SKIP LOCKED
       ))
       RETURNING 1
     ) SELECT count(*)::int AS count FROM reaped`,
  ),
  /** Each kind by itself: a backlog of one is not read for another. */
  expired: statement(
    'expired',
    `SELECT workspace, key_kind, key, run_id FROM unnest($1::text[]) AS kind,
     LATERAL (
       SELECT * FROM claims
       WHERE key_kind = kind AND lease_until <= (SELECT clock_timestamp() - $2::float8 * interval '1 millisecond')
       ORDER BY lease_until LIMIT $3
     ) AS of_kind
     ORDER BY lease_until LIMIT $3`,
  ),
  expiredClaims: statement(
    'lapsed',
    `SELECT count(*)::int AS count, coalesce(extract(epoch FROM clock_timestamp() - min(lease_until))::float8 * 1000, 0) AS oldest_ms
     FROM (SELECT lease_until FROM claims WHERE lease_until <= (SELECT clock_timestamp()) ORDER BY lease_until LIMIT 10000) AS first`,
  ),
}
