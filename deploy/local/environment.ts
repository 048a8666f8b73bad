/** The environment of the processes of the mesh, apart from addresses. Each process gets only the secrets that it needs. */
import { storedSecret } from './state/state-dir.ts'
import { identityKey } from './state/identities.ts'
import { type ProcessName, needsOf, processNames } from '../services.ts'

/** Secrets that are created at the first start, under their names in lower case, unless they were given. */
const created = new Set(processNames.flatMap((name) => needsOf(name).secrets ?? []))

/** Whether a process may know a variable that the launcher was given and does not create: only oauth may know a provider's secret. */
const mayKnow = (service: ProcessName, name: string): boolean =>
  !created.has(name) && (service === 'oauth' || !(name === 'OAUTH_ENCRYPTION_KEY' || name.endsWith('_CLIENT_SECRET')))

export interface EnvironmentOptions {
  folder: string
  /** Variables for all processes. They override the defaults, but not what connects the mesh. */
  given: Readonly<Record<string, string | undefined>>
  peersFile: string
}

/** The environment of the processes of a service. */
export function environment(service: ProcessName, { folder, given, peersFile }: EnvironmentOptions): Record<string, string> {
  const set = (entry: [string, string | undefined]): entry is [string, string] => entry[1] !== undefined
  const own = needsOf(service).secrets ?? []
  return {
    PATH: process.env.PATH ?? '',
    LOG_LEVEL: 'info',
    CORS_ORIGINS: 'http://localhost:5173,http://127.0.0.1:5173',
    OAUTH_RETURN_ORIGINS: 'http://localhost:5173,http://127.0.0.1:5173',
    // The one exception to "public addresses only": the machine itself, so that a receiver beside the mesh can be reached.
    WEBHOOK_ALLOW_PRIVATE: '127.0.0.0/8,::1/128',
    ...Object.fromEntries(
      Object.entries(given)
        .filter(set)
        .filter(([name]) => mayKnow(service, name)),
    ),
    ...Object.fromEntries(own.map((name) => [name, given[name] || storedSecret(folder, name.toLowerCase())])),
    RELAY_ENV: 'local',
    MESH_IDENTITY_KEY: identityKey(folder, service),
    MESH_PEERS_FILE: peersFile,
    // Blank here; a process that has a database, a Redis or a sandbox gets the value explicitly.
    DATABASE_URL: '',
    MIGRATION_DATABASE_URL: '',
    AUDIT_RETENTION_DATABASE_URL: '',
    REDIS_URL: '',
    RELAY_SANDBOX: '',
  }
}
