/**
 * Migrates a database to the code: forward-only SQL files, each recorded in the table `migrations`, under a lock, so that several processes
 * may migrate at once. Consecutive files run in one transaction, all of them or none. A file that begins with
 *
 *   -- relay: no transaction
 *
 * runs alone, statement by statement (each ends with a semicolon at the end of its line), for statements that Postgres runs beside writers,
 * such as CREATE INDEX CONCURRENTLY. After an interruption it runs again from its beginning, which removes its own remains.
 */
import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Client } from 'pg'
import type { Secret } from '../config.ts'
import { ConfigError } from '../config.ts'
import type { Logger } from '../telemetry/log.ts'

export interface MigrateOptions {
  /** How long a migration may wait for locks of others, in milliseconds: later statements wait as long behind it. 2000 if unset. */
  lockMs?: number
  /** How long to retry that, in milliseconds; five minutes if unset. */
  timeoutMs?: number
}

/** How long a database may take to respond at all. */
const connectPatienceMs = 60_000
const retryMs = 500
/** The interval between checks whether another migrator is done. */
const pollIntervalMs = 100
const separate = '-- relay: no transaction\n'

/** Held by a migrator from before the first file until after the last. */
const migratorsLock = 7241865325823965n
/**
 * Held by releases that migrate at their start, and in our transactions; never while an index is built, which waits for holders of this
 * lock.
 */
const startersLock = 7241865325823964n

interface File {
  name: string
  text: string
}

/** `folder` contains NNNN_what.sql files. */
export async function migrate(url: Secret, folder: URL, log: Logger, options: MigrateOptions = {}): Promise<void> {
  const { lockMs = 2000, timeoutMs = 300_000 } = options
  const until = Date.now() + timeoutMs
  const client = await connect(url, log)
  const ask = async (text: string, values?: unknown[]) => (await client.query<Record<string, unknown>>(text, values)).rows
  try {
    await takeLock(ask, log)
    await ask(`SELECT set_config('lock_timeout', $1, false)`, [String(lockMs)])
    await inTransaction(ask, () =>
      ask('CREATE TABLE IF NOT EXISTS migrations (id serial PRIMARY KEY, name varchar(255) NOT NULL, run_on timestamp NOT NULL)'),
    )
    for (const group of groupsOf(await pending(ask, folder))) {
      await withPatience(until, group, log, () => runGroup(ask, group))
      for (const { name } of group) log.info({ migration: name }, 'migrated')
    }
  } finally {
    await client.end()
  }
}

/** Throws ConfigError, with its name, if a migration of the folder has not run within `timeoutMs`. */
export async function requireMigrated(url: Secret, folder: URL, log: Logger, { timeoutMs = 60_000 } = {}): Promise<void> {
  const until = Date.now() + timeoutMs
  const client = await connect(url, log)
  const ask = async (text: string) => (await client.query<Record<string, unknown>>(text)).rows
  try {
    for (let attempt = 1; ; attempt += 1) {
      const missing = await pending(ask, folder)
      if (missing.length === 0) return
      const names = missing.map(({ name }) => name).join(', ')
      if (Date.now() > until) throw new ConfigError(`The database at DATABASE_URL lacks the migrations ${names}: run relay-migrate`)
      if (attempt === 1) log.warn({ missing: names }, 'waiting for migrations: relay-migrate runs them')
      await pause(pollIntervalMs)
    }
  } finally {
    await client.end()
  }
}

/** At the start of a service: migrates, or waits until another process has. */
export function prepareDatabase(url: Secret, folder: URL, log: Logger, { migrateOnStart }: { migrateOnStart: boolean }): Promise<void> {
  return migrateOnStart ? migrate(url, folder, log) : requireMigrated(url, folder, log)
}

type Query = (text: string, values?: unknown[]) => Promise<Record<string, unknown>[]>

/** Waits for a database that is still starting, at most a minute. */
async function connect(url: Secret, log: Logger): Promise<Client> {
  const until = Date.now() + connectPatienceMs
  for (let attempt = 1; ; attempt += 1) {
    const client = new Client({ connectionString: url.reveal(), connectionTimeoutMillis: 2000, application_name: 'relay migrate' })
    client.on('error', () => undefined)
    try {
      await client.connect()
      return client
    } catch (error) {
      await client.end().catch(() => undefined)
      if (Date.now() > until) throw new Error('Postgres does not answer at DATABASE_URL', { cause: error })
      if (attempt === 1) log.warn({ err: error }, 'waiting for Postgres')
      await pause(Math.min(100 * attempt, 1000))
    }
  }
}

/** Polls: a session that waits for a lock inside Postgres would block the building of an index, for which the lock's holder waits. */
async function takeLock(ask: Query, log: Logger): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const [row] = await ask(`SELECT pg_try_advisory_lock(${migratorsLock}) AS taken`)
    if (row!['taken'] === true) return
    if (attempt === 1) log.debug('waiting for another migrator')
    await pause(pollIntervalMs)
  }
}

/** The pending files. Throws if one of them precedes a file that has run. */
async function pending(ask: Query, folder: URL): Promise<File[]> {
  const [table] = await ask(`SELECT to_regclass('migrations') IS NOT NULL AS there`)
  const rows = table!['there'] === true ? await ask('SELECT name FROM migrations') : []
  const done = new Set(rows.map(({ name }) => String(name)))
  const names = (await readdir(folder))
    .filter((name) => name.endsWith('.sql'))
    .map((name) => name.slice(0, -'.sql'.length))
    .sort()
  const missing = names.filter((name) => !done.has(name))
  const last = [...done].sort().at(-1) ?? ''
  const early = missing.find((name) => name < last)
  if (early !== undefined) throw new Error(`The migration ${early} has not run, and ${last}, which comes after it, has`)
  return Promise.all(missing.map(async (name) => ({ name, text: await readFile(join(fileURLToPath(folder), `${name}.sql`), 'utf8') })))
}

const isSeparate = ({ text }: File): boolean => text.startsWith(separate)

/** The groups that run together: consecutive files that may, and each of the others alone. */
function groupsOf(files: readonly File[]): File[][] {
  const groups: File[][] = []
  for (const file of files) {
    const last = groups.at(-1)
    if (last === undefined || isSeparate(file) || isSeparate(last[0]!)) groups.push([file])
    else last.push(file)
  }
  return groups
}

async function runGroup(ask: Query, group: readonly File[]): Promise<void> {
  const record = ({ name }: File) => ask('INSERT INTO migrations (name, run_on) VALUES ($1, now())', [name])
  const [first] = group
  if (isSeparate(first!)) {
    for (const statement of statementsOf(first!.text)) await ask(statement)
    await record(first!)
    return
  }
  await inTransaction(ask, async () => {
    await ask(`SELECT pg_advisory_xact_lock(${startersLock})`)
    // A release that migrates at its start may have done it meanwhile.
    const rows = await ask('SELECT name FROM migrations WHERE name = ANY ($1)', [group.map(({ name }) => name)])
    for (const file of group.filter(({ name }) => !rows.some((row) => row['name'] === name))) {
      await ask(file.text)
      await record(file)
    }
  })
}

const statementsOf = (text: string): string[] =>
  text
    .slice(separate.length)
    .split(/;[ \t]*(?:\n|$)/)
    .filter((each) => each.replaceAll(/^\s*--.*$/gm, '').trim() !== '')

async function inTransaction(ask: Query, work: () => Promise<unknown>): Promise<void> {
  await ask('BEGIN')
  try {
    await work()
    await ask('COMMIT')
  } catch (error) {
    await ask('ROLLBACK').catch(() => undefined)
    throw error
  }
}

/** lock_not_available, and a deadlock that chose us as victim: https://www.postgresql.org/docs/current/errcodes-appendix.html */
const inTheWay = new Set(['55P03', '40P01'])

async function withPatience(until: number, group: readonly File[], log: Logger, work: () => Promise<void>): Promise<void> {
  const names = group.map(({ name }) => name).join(', ')
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work()
    } catch (error) {
      if (!inTheWay.has((error as { code?: string }).code ?? '')) throw error
      if (Date.now() > until) throw new Error(`The migration ${names} did not get its locks: another session holds them`, { cause: error })
      if (attempt === 1) log.warn({ migration: names }, 'another session holds a lock; will retry the migration')
      await pause(retryMs * (1 + Math.random()))
    }
  }
}
