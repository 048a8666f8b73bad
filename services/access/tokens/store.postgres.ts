import type { Database, Queries } from '#mesh/postgres/database.ts'
import { statementMaker } from '#mesh/postgres/statement.ts'
import type { SigningKeySnapshot, SigningKey, SigningKeyStore } from './store.ts'

export function signingKeyStore(database: Database): SigningKeyStore {
  return {
    read: () => read(database),

    change: (decide) =>
      database.transaction(async (queries) => {
        await queries.query(statements.lock)
        const then = await read(queries)
        const { add, remove } = decide(then)
        if (add !== undefined) await queries.query(statements.add, [add.kid, add.x, add.sealed, then.now, add.signsFrom])
        if (remove.length > 0) await queries.query(statements.remove, [remove])
        const kept = then.keys.filter(({ kid }) => !remove.includes(kid))
        return { now: then.now, keys: add === undefined ? kept : [...kept, add] }
      }),
  }
}

/** At least one row: the time, and a key per row if there are any. */
async function read(queries: Queries): Promise<SigningKeySnapshot> {
  const rows = await queries.query<Row>(statements.read)
  return { now: rows[0]!.now, keys: rows.flatMap(keyOf) }
}

interface Row {
  now: number
  kid: string | null
  x: string
  sealed: Buffer
  signs_from: number
}

const keyOf = ({ kid, x, sealed, signs_from: signsFrom }: Row): SigningKey[] => (kid === null ? [] : [{ kid, x, sealed, signsFrom }])

const statement = statementMaker('signing keys ')

const statements = {
  lock: statement('lock', `SELECT pg_advisory_xact_lock(hashtextextended('relay access signing keys', 0))`),
  read: statement(
    'read',
    `SELECT extract(epoch FROM at.now)::float8 * 1000 AS now, kid, x, sealed, extract(epoch FROM signs_from)::float8 * 1000 AS signs_from
     FROM (SELECT clock_timestamp() AS now) AS at LEFT JOIN signing_keys ON true`,
  ),
  add: statement(
    'add',
    `INSERT INTO signing_keys (kid, x, sealed, published_at, signs_from)
     VALUES ($1, $2, $3, to_timestamp($4::float8 / 1000), to_timestamp($5::float8 / 1000))`,
  ),
  remove: statement('remove', `DELETE FROM signing_keys WHERE kid = ANY ($1::text[])`),
}
