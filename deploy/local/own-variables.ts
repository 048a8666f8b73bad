/** The variables that only one service gets, and the files with which its operator programs are run by hand. */
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { ServiceName } from '../services.ts'
import { sandboxClients } from './sandbox.ts'
import { storedSecret, writePrivate } from './state/state-dir.ts'

type Variables = Record<string, string>

export interface OwnVariablesParts {
  /** The folder of the mesh, and that of the sources. */
  folder: string
  root: string
  /** The URLs of the service's database by role: its owner's, and further ones. Empty without a database. */
  database: Readonly<Record<string, string>>
  /** The gateway's URL, as browsers on this machine reach it. */
  publicUrl: string
  hasSandbox: boolean
  /** The variables that the launcher was given. */
  given: Readonly<Record<string, string | undefined>>
}

/** A Fernet key: 32 bytes in base64url with padding (https://github.com/fernet/spec). */
const newFernetKey = (): string => `${randomBytes(32).toString('base64url')}=`

const own: Partial<Record<ServiceName, (parts: OwnVariablesParts) => Variables>> = {
  // The owner migrates, the service runs as `service`, and only `retention` may shorten the audit log.
  access: ({ folder, database }) => ({
    DATABASE_URL: database.service!,
    MIGRATION_DATABASE_URL: database.owner!,
    AUDIT_RETENTION_DATABASE_URL: database.retention!,
    AUDIT_HEADS_FILE: join(folder, 'audit-heads.ndjson'),
  }),
  oauth: ({ folder, publicUrl, given, hasSandbox }) => ({
    OAUTH_ENCRYPTION_KEY: given.OAUTH_ENCRYPTION_KEY || storedSecret(folder, 'oauth_encryption_key', newFernetKey),
    PUBLIC_URL: given.PUBLIC_URL || publicUrl,
    ...(hasSandbox ? sandboxClients(folder) : {}),
  }),
  ratelimit: ({ root, given }): Variables => {
    const file = given.RATELIMIT_FILE ?? join(root, 'deploy/local/limits.yaml')
    return existsSync(file) ? { RATELIMIT_FILE: file } : {}
  },
}

export const ownVariables = (service: ServiceName, parts: OwnVariablesParts): Variables => ({
  ...(parts.database.owner === undefined ? {} : { DATABASE_URL: parts.database.owner }),
  ...own[service]?.(parts),
})

/** The variables that operator programs read, by service. */
const readByPrograms: Partial<Record<ServiceName, readonly string[]>> = {
  access: ['RELAY_ENV', 'DATABASE_URL', 'AUDIT_RETENTION_DATABASE_URL', 'ACCESS_KEY_PEPPER', 'ACCESS_SIGNING_SECRET', 'AUDIT_HMAC_KEY'],
  oauth: ['RELAY_ENV', 'DATABASE_URL', 'OAUTH_ENCRYPTION_KEY'],
}

/** Writes `<service>.env`: `node --env-file=.relay/access.env services/access/relay-audit.cli.ts verify`. */
export function writeProgramVariables(service: ServiceName, folder: string, env: Readonly<Variables>): void {
  const names = readByPrograms[service]
  if (names !== undefined) writePrivate(join(folder, `${service}.env`), names.map((name) => `${name}=${env[name] ?? ''}\n`).join(''))
}
