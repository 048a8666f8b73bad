/** What the processes of the mesh are told beside where they listen and whom they call: of the secrets, each only those that it needs. */
import { storedSecret } from './state/state-dir.ts'
import { identityKey } from './state/identities.ts'

/** Who needs which secret. They are made at the first start, under their names in lower case, unless they were given. */
const secrets: Readonly<Record<string, readonly string[]>> = {
  ACTIONS_SIGNING_SECRET: ['actions', 'gateway'],
  SIGNATURE_ROOT_SECRET: ['access', 'actions', 'gateway'],
  ACCESS_KEY_PEPPER: ['access'],
  ACCESS_SIGNING_SECRET: ['access'],
  AUDIT_HMAC_KEY: ['access'],
}

/** Who may know what the launcher was given and the mesh does not make: a provider's secret is the oauth service's alone. */
const mayKnow = (service: string, name: string): boolean =>
  !(name in secrets) && (service === 'oauth' || !(name === 'OAUTH_ENCRYPTION_KEY' || name.endsWith('_CLIENT_SECRET')))

export interface EnvironmentOptions {
  folder: string
  /** Variables for all processes, over the defaults but under what connects the mesh. */
  given: Readonly<Record<string, string | undefined>>
  peersFile: string
}

/** The environment of the processes of a service. */
export function environment(service: string, { folder, given, peersFile }: EnvironmentOptions): Record<string, string> {
  const set = (entry: [string, string | undefined]): entry is [string, string] => entry[1] !== undefined
  const own = Object.entries(secrets).filter(([, services]) => services.includes(service))
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
    ...Object.fromEntries(own.map(([name]) => [name, given[name] || storedSecret(folder, name.toLowerCase())])),
    RELAY_ENV: 'local',
    MESH_IDENTITY_KEY: identityKey(folder, service),
    MESH_PEERS_FILE: peersFile,
    // Whoever has a database, a Redis or a sandbox is told of it by name.
    DATABASE_URL: '',
    MIGRATION_DATABASE_URL: '',
    AUDIT_RETENTION_DATABASE_URL: '',
    REDIS_URL: '',
    RELAY_SANDBOX: '',
  }
}
