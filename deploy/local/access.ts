/** What the access service alone is told: its database under three roles, and where the ends of its audit log are kept. */
import { join } from 'node:path'
import { createServiceDatabase, type DatabaseServer } from './postgres/databases.ts'
import { writePrivate } from './state/state-dir.ts'

/** Makes the database: its owner migrates, `service` is what the service runs as, and `retention` alone may shorten the audit log. */
export async function accessEnvironment(server: DatabaseServer, database: string): Promise<Record<string, string>> {
  const { owner, service, retention } = await createServiceDatabase(server, database, ['service', 'retention'])
  return {
    DATABASE_URL: service,
    MIGRATION_DATABASE_URL: owner,
    AUDIT_RETENTION_DATABASE_URL: retention,
    AUDIT_HEADS_FILE: join(server.folder, 'audit-heads.ndjson'),
  }
}

/** What services/access/*.cli.ts read. */
const forOperators = [
  'RELAY_ENV',
  'DATABASE_URL',
  'AUDIT_RETENTION_DATABASE_URL',
  'ACCESS_KEY_PEPPER',
  'ACCESS_SIGNING_SECRET',
  'AUDIT_HMAC_KEY',
]

/** Writes it down for whoever runs them by hand: `node --env-file=.relay/access.env services/access/relay-audit.cli.ts verify`. */
export function writeOperatorsFile(folder: string, env: Readonly<Record<string, string>>): void {
  writePrivate(join(folder, 'access.env'), forOperators.map((name) => `${name}=${env[name] ?? ''}\n`).join(''))
}
