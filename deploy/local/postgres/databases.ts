/** A database and login roles for each service, so that none can read another's tables. */
import { Client, escapeIdentifier, escapeLiteral } from 'pg'
import { type ServiceName, services, withDatabase } from '../../services.ts'
import { storedSecret } from '../state/state-dir.ts'

export interface DatabaseServer {
  /** The URL of a role that may create roles and databases. */
  readonly adminUrl: string
  /** The folder that stores the passwords. */
  readonly folder: string
}

/** The URLs of one database: its owner's, and those of further roles by their names. */
export type DatabaseUrls = Record<'owner' | (string & {}), string>

const duplicate = new Set(['42710', '42P04', '23505'])

/** Runs a statement that creates something, and ignores that it already exists. */
async function ensure(client: Client, sql: string): Promise<void> {
  try {
    await client.query(sql)
  } catch (error) {
    if (!duplicate.has((error as { code?: string }).code ?? '')) throw error
  }
}

/** Runs statements on a database of the server. */
async function on(url: string, run: (client: Client) => Promise<void>): Promise<void> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 5000 })
  // A lost connection fails the statement in progress, which handles it.
  client.on('error', () => undefined)
  try {
    await client.connect()
    await run(client)
  } finally {
    await client.end().catch(() => undefined)
  }
}

/** Creates a login role. Returns its password, which is stored. */
async function ensureRole(client: Client, folder: string, name: string): Promise<string> {
  const password = storedSecret(folder, `database ${name}`)
  const role = escapeIdentifier(name)
  await ensure(client, `CREATE ROLE ${role} LOGIN`)
  await client.query(`ALTER ROLE ${role} PASSWORD ${escapeLiteral(password)}`)
  return password
}

/**
 * Creates the database `name`, owned by a login role of the same name. Only that role and the login roles `name_<further>` may connect; the
 * service grants further rights. Returns the URLs of all of them. Safe to repeat: passwords stay the same.
 */
export async function createServiceDatabase<Further extends string = never>(
  server: DatabaseServer,
  name: string,
  further: readonly Further[] = [],
): Promise<Record<'owner' | Further, string>> {
  const database = escapeIdentifier(name)
  const urls: Record<string, string> = {}
  const urlFor = (role: string, password: string): string => {
    const url = new URL(server.adminUrl)
    url.username = encodeURIComponent(role)
    url.password = encodeURIComponent(password)
    url.pathname = `/${encodeURIComponent(name)}`
    return url.href
  }
  await on(server.adminUrl, async (client) => {
    urls.owner = urlFor(name, await ensureRole(client, server.folder, name))
    // A role that is not a superuser may give a database only to a role that it is a member of.
    await client.query(`GRANT ${database} TO CURRENT_USER`)
    await ensure(client, `CREATE DATABASE ${database} OWNER ${database}`)
    await client.query(`REVOKE ALL ON DATABASE ${database} FROM PUBLIC`)
    for (const each of further) {
      const role = `${name}_${each}`
      urls[each] = urlFor(role, await ensureRole(client, server.folder, role))
      await client.query(`GRANT CONNECT ON DATABASE ${database} TO ${escapeIdentifier(role)}`)
    }
  })
  return urls
}

/** The databases of all services, by service. One after the other, because they change the same catalog rows. */
export function createDatabases(server: DatabaseServer, prefix: string): ReadonlyMap<ServiceName, Promise<DatabaseUrls>> {
  const created = new Map<ServiceName, Promise<DatabaseUrls>>()
  let last: Promise<unknown> = Promise.resolve()
  for (const name of withDatabase) {
    const next = last.then(() => createServiceDatabase(server, `${prefix}_${name}`, services[name].database.roles))
    created.set(name, next)
    last = next
  }
  return created
}
