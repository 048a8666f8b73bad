/** A database of its own for each test file, on the one Postgres of the test run. */
import { randomBytes } from 'node:crypto'
import { pathToFileURL } from 'node:url'
import { Client } from 'pg'
import { pino } from 'pino'
import { Secret } from '#mesh/config.ts'
import { migrate } from '#mesh/postgres/migrate.ts'
import { partUrl } from './part.ts'

export interface FreshDatabase {
  readonly url: string
  drop(): Promise<void>
}

/** Runs one statement as the superuser. */
async function administer(adminUrl: string, sql: string): Promise<void> {
  const client = new Client({ connectionString: adminUrl })
  // A lost connection fails the statement that is under way; that is where it is handled.
  client.on('error', () => undefined)
  try {
    await client.connect()
    await client.query(sql)
  } finally {
    await client.end()
  }
}

/** The superuser's URL of the test run's Postgres, e.g. for `startMesh({ databaseUrl, databasePrefix })`. */
export const sharedPostgres = (): Promise<string> => partUrl('postgres')

/** An empty database, or one with the migrations of a folder (e.g. `services/actions/migrations`) applied. */
export async function freshDatabase(migrations?: string | URL): Promise<FreshDatabase> {
  const adminUrl = await sharedPostgres()
  const name = `test_${randomBytes(8).toString('hex')}`
  await administer(adminUrl, `CREATE DATABASE ${name}`)
  const url = new URL(adminUrl)
  url.pathname = `/${name}`
  if (migrations !== undefined) {
    const folder = migrations instanceof URL ? migrations : pathToFileURL(`${migrations}/`)
    await migrate(new Secret(url.href), folder, pino({ level: 'silent' }))
  }
  return { url: url.href, drop: () => administer(adminUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`) }
}
