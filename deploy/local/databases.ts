/** A database and a login role for each service, so that none can read another's tables. */
import { Client, escapeIdentifier, escapeLiteral } from 'pg'
import { keptSecret } from './home.ts'

export interface DatabaseServer {
  /** Of a role that may create roles and databases. */
  readonly adminUrl: string
  /** Where the passwords are kept. */
  readonly folder: string
}

const duplicate = new Set(['42710', '42P04', '23505'])

/** Runs a statement that makes something, and does not mind when it is there already. */
async function ensure(client: Client, sql: string): Promise<void> {
  try {
    await client.query(sql)
  } catch (error) {
    if (!duplicate.has((error as { code?: string }).code ?? '')) throw error
  }
}

/**
 * Makes the database `name` owned by a login role of the same name, closed to everybody else, and returns its URL. Safe to repeat: the
 * password stays.
 */
export async function createServiceDatabase(server: DatabaseServer, name: string): Promise<string> {
  const password = keptSecret(server.folder, `database ${name}`)
  const client = new Client({ connectionString: server.adminUrl, connectionTimeoutMillis: 5000 })
  // A lost connection fails the statement that is under way; that is where it is handled.
  client.on('error', () => undefined)
  try {
    await client.connect()
    const [role, database] = [escapeIdentifier(name), escapeIdentifier(name)]
    await ensure(client, `CREATE ROLE ${role} LOGIN`)
    await client.query(`ALTER ROLE ${role} PASSWORD ${escapeLiteral(password)}`)
    // Who is not a superuser may give a database only to a role it is a member of.
    await client.query(`GRANT ${role} TO CURRENT_USER`)
    await ensure(client, `CREATE DATABASE ${database} OWNER ${role}`)
    await client.query(`REVOKE ALL ON DATABASE ${database} FROM PUBLIC`)
  } finally {
    await client.end().catch(() => undefined)
  }
  const url = new URL(server.adminUrl)
  url.username = encodeURIComponent(name)
  url.password = encodeURIComponent(password)
  url.pathname = `/${encodeURIComponent(name)}`
  return url.href
}
