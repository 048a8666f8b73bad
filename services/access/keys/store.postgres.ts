/**
 * API keys in Postgres. A transaction that adds or ends a key holds a lock of its workspace, so that active keys can be counted and no
 * child is created while its parent is revoked. One that ends a key also holds the lock of the revocations until it commits, so that a
 * follower that has seen a number has seen all lower ones.
 *
 * Locks are taken in the order workspace, keys (by id), revocations, and nothing waits under the last, so transactions cannot deadlock.
 */
import type { AuditEvent } from '#mesh/audit/event.ts'
import type { Database, Queries } from '#mesh/postgres/database.ts'
import { type Statement, statementMaker } from '#mesh/postgres/statement.ts'
import { isUuid } from '#mesh/uuid.ts'
import { type KeyStatus, type Revocation, type StoredKey, maxKeys } from './key.ts'
import type { Role } from './roles.ts'
import type { FoundKey, KeyStore } from './store.ts'

/** Maximum revocations per response; the next one continues there. */
const maxRevocations = 5000

/** Rows of a table per statement. */
const maxPruned = 500

export function postgresKeyStore(database: Database): KeyStore {
  return {
    add(key, event) {
      return database.transaction(async (queries) => {
        const full = (await countLiving(queries, key.workspace)) >= maxKeys
        if (!(await stands(queries, key.workspace, key.parent))) return 'parent ended'
        if (full) return 'limit'
        const [row] = await queries.query<Row>(statements.insert, [
          key.keyId,
          key.hash,
          key.workspace,
          key.actor,
          key.name,
          key.role,
          key.permissions,
          key.previewOnly,
          key.allowedSources,
          key.createdBy,
          key.lifetimeMs ?? null,
          key.parent ?? null,
        ])
        await tell(queries, event)
        return toKey(row!)
      })
    },

    async findByHash(hash) {
      const [row] = await database.query<FoundRow>(statements.findByHash, [hash])
      return row && toFound(row)
    },

    async find(workspace, keyId) {
      if (!isUuid(keyId)) return undefined
      const [row] = await database.query<FoundRow>(statements.find, [workspace, keyId])
      return row && toFound(row)
    },

    async list({ workspace, actor, limit, after }) {
      const whose = actor === undefined ? [workspace] : [workspace, actor]
      const [first, later] =
        actor === undefined ? [statements.list, statements.listAfter] : [statements.listOfActor, statements.listOfActorAfter]
      const asked: [Statement, unknown[]] =
        after === undefined ? [first, [limit + 1, ...whose]] : [later, [limit + 1, ...whose, after.atUs, after.id]]
      const rows = await database.query<Row & { cursor: string }>(...asked)
      const page = rows.slice(0, limit)
      const last = page.at(-1)
      const next = rows.length > limit && last !== undefined ? { atUs: last.cursor, id: last.key_id } : undefined
      return { keys: page.map(toKey), next }
    },

    rotate({ workspace, keyId, freshId, freshHash, createdBy, parent, overlapMs }, event) {
      return database.transaction(async (queries) => {
        // With an overlap there is one key more.
        const full = (await countLiving(queries, workspace)) >= maxKeys && overlapMs > 0
        const [held] = await queries.query<Row>(statements.hold, [workspace, keyId])
        if (held === undefined) return undefined
        if (held.status !== 'active') return 'ended'
        if (!(await stands(queries, workspace, parent))) return 'parent ended'
        if (full) return 'limit'
        const [fresh] = await queries.query<Row>(statements.insertSuccessor, [keyId, freshId, freshHash, createdBy, parent ?? null])
        const [previous] = await queries.query<Row>(statements.shorten, [keyId, overlapMs])
        await tell(queries, event)
        await queries.query(statements.lockRevocations)
        await queries.query(statements.addRevocations, [[keyId]])
        return { fresh: toKey(fresh!), previous: toKey(previous!) }
      })
    },

    revoke({ workspace, keyId, keepChildren, childrenOf }, event) {
      return database.transaction(async (queries) => {
        await queries.query(statements.lockWorkspace, [workspace])
        const ids = keepChildren ? [keyId] : [keyId, ...(await livingBelow(queries, workspace, keyId))]
        const held = await queries.query<Row>(statements.holdAll, [workspace, ids])
        const key = held.find((each) => each.key_id === keyId)
        if (key === undefined) return undefined
        const children = held.filter((each) => each !== key && each.status === 'active')
        if (childrenOf !== undefined && children.some(({ actor }) => actor !== childrenOf)) return 'children of others'
        const ending = key.status === 'revoked' ? children : [key, ...children]
        if (ending.length === 0) return { key: toKey(key), children: [] }
        const endingIds = ending.map(({ key_id: id }) => id)
        const revoked = await queries.query<Row>(statements.revoke, [endingIds])
        await tell(queries, ...endingIds.map(event))
        await queries.query(statements.lockRevocations)
        await queries.query(statements.addRevocations, [endingIds])
        const now = revoked.find((each) => each.key_id === keyId) ?? key
        return { key: toKey(now), children: children.map(({ key_id: id }) => id) }
      })
    },

    async prune(keptMs) {
      const [row] = await database.query<{ removed: number }>(statements.prune, [keptMs, maxPruned])
      return row!.removed
    },

    async noteUsed(uses) {
      if (uses.size > 0) await database.query(statements.noteUsed, [[...uses.keys()], [...uses.values()]])
    },

    async revocationsAfter(sequence, sinceMs) {
      const rows = await database.query<RevocationRow>(statements.revocationsAfter, [sequence, sinceMs, maxRevocations])
      const revocations = rows.flatMap(({ sequence: number, key_id: keyId, not_after: notAfter }): Revocation[] =>
        number === null ? [] : [{ sequence: number, keyId: keyId!, notAfter: notAfter! }],
      )
      // The next call gets what a full response left out.
      const reached = revocations.length === maxRevocations ? revocations.at(-1)!.sequence : rows[0]!.latest
      return { revocations, sequence: reached }
    },
  }
}

/** The number of active keys of the workspace, which stays the same until the transaction ends. */
async function countLiving(queries: Queries, workspace: string): Promise<number> {
  await queries.query(statements.lockWorkspace, [workspace])
  const [row] = await queries.query<{ count: number }>(statements.countLiving, [workspace])
  return row!.count
}

/** Whether a key may still create others; always true for an operator, who has no key. */
async function stands(queries: Queries, workspace: string, keyId: string | undefined): Promise<boolean> {
  if (keyId === undefined) return true
  const [row] = await queries.query<Row>(statements.find, [workspace, keyId])
  return row?.status === 'active'
}

/**
 * The active keys that descend from a key, also through ended ones. The limit of keys per workspace bounds them, and so the duration of a
 * revocation.
 */
async function livingBelow(queries: Queries, workspace: string, keyId: string): Promise<string[]> {
  return (await queries.query<{ key_id: string }>(statements.livingBelow, [workspace, keyId])).map(({ key_id: id }) => id)
}

const tell = (queries: Queries, ...events: AuditEvent[]) =>
  queries.query(statements.tell, [events.map(({ eventId }) => eventId), events.map((event) => JSON.stringify(event))])

interface Row {
  key_id: string
  workspace: string
  actor: string
  name: string
  role: Role
  permissions: string[]
  preview_only: boolean
  allowed_sources: string[]
  created_at: Date
  created_by: string
  expires_at: Date | null
  revoked_at: Date | null
  last_used_at: Date | null
  replaces: string | null
  parent: string | null
  status: KeyStatus
}

interface FoundRow extends Row {
  expires_in_ms: number | null
}

/** At least one row: the latest number, without a revocation if there is none. */
interface RevocationRow {
  latest: number
  sequence: number | null
  key_id: string | null
  not_after: Date | null
}

const toKey = (row: Row): StoredKey => ({
  keyId: row.key_id,
  workspace: row.workspace,
  actor: row.actor,
  name: row.name,
  role: row.role,
  permissions: row.permissions,
  previewOnly: row.preview_only,
  allowedSources: row.allowed_sources,
  createdAt: row.created_at,
  createdBy: row.created_by,
  expiresAt: row.expires_at ?? undefined,
  revokedAt: row.revoked_at ?? undefined,
  lastUsedAt: row.last_used_at ?? undefined,
  replaces: row.replaces ?? undefined,
  parent: row.parent ?? undefined,
  status: row.status,
})

const toFound = (row: FoundRow): FoundKey => ({ ...toKey(row), expiresInMs: row.expires_in_ms ?? undefined })

const statement = statementMaker('keys ')

const columns = `key_id, workspace, actor, name, role, permissions, preview_only, allowed_sources, created_at, created_by, expires_at,
  revoked_at, last_used_at, replaces, parent,
  CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= clock_timestamp() THEN 'expired' ELSE 'active' END AS status`

/** As in the index. The clock is read once, so that the index can be searched by it. */
const living = `revoked_at IS NULL AND coalesce(expires_at, 'infinity') > (SELECT clock_timestamp())`

const inMs = (parameter: string) => `clock_timestamp() + ${parameter}::float8 * interval '1 millisecond'`

/** After this lifetime, and no later than the parent: `least` ignores NULL. */
const endOf = (lifetimeMs: string, parent: string) =>
  `least(${inMs(lifetimeMs)}, (SELECT made_by.expires_at FROM api_keys AS made_by WHERE made_by.key_id = ${parent}::uuid))`

const remaining = 'extract(epoch FROM expires_at - clock_timestamp())::float8 * 1000 AS expires_in_ms'

/** `after`: the end of the previous page, the first of its two parameters. One statement per set of filters, each with its own plan. */
const listed = (
  condition: string,
  after?: number,
) => `SELECT ${columns}, (extract(epoch FROM created_at) * 1000000)::bigint::text AS cursor FROM api_keys
  WHERE ${condition}${after === undefined ? '' : ` AND (created_at, key_id) < ('epoch'::timestamptz + $${after}::bigint * interval '1 microsecond', $${after + 1}::uuid)`}
  ORDER BY created_at DESC, key_id DESC LIMIT $1`

const statements = {
  lockWorkspace: statement('lock workspace', `SELECT pg_advisory_xact_lock(hashtextextended('keys of ' || $1, 0))`),
  lockRevocations: statement('lock revocations', `SELECT pg_advisory_xact_lock(hashtextextended('revocations', 0))`),
  countLiving: statement(
    'count living',
    `SELECT count(*)::int AS count FROM api_keys
     WHERE workspace = $1 AND ${living}`,
  ),
  insert: statement(
    'insert',
    `INSERT INTO api_keys (key_id, hash, workspace, actor, name, role, permissions, preview_only, allowed_sources, created_by, life_ms,
       parent, expires_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, ${endOf('$11', '$12')}) RETURNING ${columns}`,
  ),
  /** The rights are copied from row to row inside the database, so that nothing in between can change them. */
  insertSuccessor: statement(
    'insert successor',
    `INSERT INTO api_keys (key_id, hash, workspace, actor, name, role, permissions, preview_only, allowed_sources, created_by, life_ms,
       expires_at, replaces, parent)
     SELECT $2, $3, workspace, actor, name, role, permissions, preview_only, allowed_sources, $4, life_ms, ${endOf('life_ms', '$5')}, key_id, $5
     FROM api_keys WHERE key_id = $1 RETURNING ${columns}`,
  ),
  findByHash: statement('find by hash', `SELECT ${columns}, ${remaining} FROM api_keys WHERE hash = $1`),
  find: statement('find', `SELECT ${columns}, ${remaining} FROM api_keys WHERE workspace = $1 AND key_id = $2`),
  list: statement('list', listed('workspace = $2')),
  listAfter: statement('list after', listed('workspace = $2', 3)),
  listOfActor: statement('list of actor', listed('workspace = $2 AND actor = $3')),
  listOfActorAfter: statement('list of actor after', listed('workspace = $2 AND actor = $3', 4)),
  hold: statement('hold', `SELECT ${columns} FROM api_keys WHERE workspace = $1 AND key_id = $2 FOR NO KEY UPDATE`),
  /** By their ids, the same order as in every other transaction that locks several. */
  holdAll: statement(
    'hold all',
    `SELECT ${columns} FROM api_keys WHERE workspace = $1 AND key_id = ANY ($2::uuid[]) ORDER BY key_id FOR NO KEY UPDATE`,
  ),
  /**
   * From each active key upwards, by jumps that stay within the generation of the key in question, to that key: ended keys beside and
   * between cost nothing (migrations/0010_key_places.sql). Each step reads one row by its id; OFFSET 0 keeps the planner from joining all
   * rows.
   */
  livingBelow: statement(
    'living below',
    `WITH RECURSIVE top AS (SELECT depth FROM api_keys WHERE workspace = $1 AND key_id = $2),
     rising AS (
       SELECT key_id AS living, key_id AS at, depth, parent, jump, jump_depth FROM api_keys
       WHERE workspace = $1 AND ${living} AND depth > (SELECT depth FROM top)
       UNION ALL
       SELECT rising.living, up.key_id, up.depth, up.parent, up.jump, up.jump_depth
       FROM rising CROSS JOIN LATERAL (
         SELECT key_id, depth, parent, jump, jump_depth FROM api_keys
         WHERE key_id = CASE WHEN rising.jump_depth >= (SELECT depth FROM top) THEN rising.jump ELSE rising.parent END OFFSET 0
       ) AS up
       WHERE rising.depth > (SELECT depth FROM top)
     ) SELECT living AS key_id FROM rising WHERE at = $2`,
  ),
  shorten: statement('shorten', `UPDATE api_keys SET expires_at = least(expires_at, ${inMs('$2')}) WHERE key_id = $1 RETURNING ${columns}`),
  revoke: statement('revoke', `UPDATE api_keys SET revoked_at = clock_timestamp() WHERE key_id = ANY ($1::uuid[]) RETURNING ${columns}`),
  addRevocations: statement(
    'add revocations',
    `INSERT INTO revocations (key_id, not_after)
     SELECT key_id, coalesce(revoked_at, expires_at) FROM api_keys WHERE key_id = ANY ($1::uuid[]) ORDER BY key_id`,
  ),
  prune: statement('prune', `SELECT prune_keys($1::float8 * interval '1 millisecond', $2) AS removed`),
  /** In the order of their ids, so that two concurrent updates cannot deadlock. */
  noteUsed: statement(
    'note used',
    `UPDATE api_keys SET last_used_at = greatest(last_used_at, least(used.at, clock_timestamp()))
     FROM (
       SELECT key_id, asked.at FROM api_keys JOIN unnest($1::uuid[], $2::timestamptz[]) AS asked (key_id, at) USING (key_id)
       ORDER BY key_id FOR NO KEY UPDATE OF api_keys
     ) AS used WHERE api_keys.key_id = used.key_id`,
  ),
  revocationsAfter: statement(
    'revocations after',
    `WITH known AS (SELECT coalesce(max(sequence), 0) AS latest FROM revocations),
     since AS MATERIALIZED (SELECT clock_timestamp() - $2::float8 * interval '1 millisecond' AS at),
     -- A clock that was set back puts a later number before an earlier one: so many are looked at for the first.
     first AS MATERIALIZED (SELECT min(sequence) AS sequence FROM (
       SELECT sequence FROM revocations WHERE recorded_at > (SELECT at FROM since) ORDER BY recorded_at LIMIT 1000) AS earliest)
     SELECT known.latest, later.* FROM known LEFT JOIN LATERAL (
       SELECT sequence, key_id, not_after FROM revocations
       WHERE sequence > CASE WHEN $1 > known.latest THEN 0 ELSE $1 END AND sequence >= (SELECT sequence FROM first)
         AND recorded_at > (SELECT at FROM since)
       ORDER BY sequence LIMIT $3
     ) AS later ON true ORDER BY later.sequence`,
  ),
  tell: statement('tell', `INSERT INTO audit_outbox (event_id, event) SELECT * FROM unnest($1::uuid[], $2::text[])`),
}
