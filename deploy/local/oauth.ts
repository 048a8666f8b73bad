/** What the oauth service alone is told: its database, its key, where browsers find Relay, and who it is at the providers. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { createServiceDatabase, type DatabaseServer } from './postgres/databases.ts'
import { storedSecret, writePrivate } from './state/state-dir.ts'

export interface OauthOptions {
  server: DatabaseServer
  /** The name of its database. */
  database: string
  /** The gateway's URL, as browsers on this machine reach it. */
  gateway: string
  /** What the launcher was given. */
  given: Readonly<Record<string, string | undefined>>
}

/** A key as Fernet has them: 32 bytes in base64url, with padding (https://github.com/fernet/spec). */
const newKey = (): string => `${randomBytes(32).toString('base64url')}=`

/** Makes the database and, at the first start, the key. */
export async function oauthEnvironment({ server, database, gateway, given }: OauthOptions): Promise<Record<string, string>> {
  const { owner } = await createServiceDatabase(server, database)
  return {
    DATABASE_URL: owner,
    OAUTH_ENCRYPTION_KEY: given.OAUTH_ENCRYPTION_KEY || storedSecret(server.folder, 'oauth_encryption_key', newKey),
    PUBLIC_URL: given.PUBLIC_URL || gateway,
  }
}

/** What services/oauth/relay-oauth.cli.ts reads. */
const forOperators = ['RELAY_ENV', 'DATABASE_URL', 'OAUTH_ENCRYPTION_KEY']

/** Writes it down for whoever runs it by hand: `node --env-file=.relay/oauth.env services/oauth/relay-oauth.cli.ts rotate --check`. */
export function writeOauthFile(folder: string, env: Readonly<Record<string, string>>): void {
  writePrivate(join(folder, 'oauth.env'), forOperators.map((name) => `${name}=${env[name] ?? ''}\n`).join(''))
}
