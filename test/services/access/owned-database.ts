/** Login roles of Postgres for one test file, and a database that one of them owns. */
import { randomBytes } from 'node:crypto'
import { Client } from 'pg'
import { pino } from 'pino'
import { Secret } from '#mesh/config.ts'
import { migrate } from '#mesh/postgres/migrate.ts'
import { sharedPostgres } from '../../setup/database.ts'

const migrations = new URL('../../../services/access/migrations/', import.meta.url)

export interface OwnedDatabase<Name extends string> {
  /** Its URL as each of the roles. */
  readonly urls: Record<'owner' | Name, string>
  drop(): Promise<void>
}

/** Migrated by its owner; the other roles may connect, and nothing else. */
export async function ownedDatabase<Name extends string>(...names: Name[]): Promise<OwnedDatabase<Name>> {
  const adminUrl = await sharedPostgres()
  const admin = new Client({ connectionString: adminUrl })
  await admin.connect()
  const mark = randomBytes(6).toString('hex')
  const roles = (['owner', ...names] as const).map((name) => ({ name, role: `${name}_${mark}`, password: randomBytes(12).toString('hex') }))
  for (const { role, password } of roles) await admin.query(`CREATE ROLE ${role} LOGIN PASSWORD '${password}'`)
  await admin.query(`CREATE DATABASE access_${mark} OWNER owner_${mark}`)
  const urlOf = (role: string, password: string): string =>
    Object.assign(new URL(adminUrl), { username: role, password, pathname: `/access_${mark}` }).href
  const urls = Object.fromEntries(roles.map(({ name, role, password }) => [name, urlOf(role, password)])) as Record<'owner' | Name, string>
  await migrate(new Secret(urls.owner), migrations, pino({ level: 'silent' }))
  return {
    urls,
    async drop() {
      await admin.query(`DROP DATABASE access_${mark} WITH (FORCE)`)
      for (const { role } of roles) await admin.query(`DROP ROLE ${role}`)
      await admin.end()
    },
  }
}
