/** The variables of the idempotency service. */
import { duration, integer, secret } from '#mesh/config.ts'
import { accessVariables, identityVariables } from '#mesh/identity/variables.ts'
import { databaseVariables, grpcVariables } from '#mesh/variables.ts'

export const variables = {
  ...grpcVariables,
  ...databaseVariables,
  ...identityVariables,
  ...accessVariables,
  databaseUrl: secret('DATABASE_URL', "This service's own Postgres database, as postgres://user:password@host:port/database"),
  connections: integer('DATABASE_CONNECTIONS', 'Connections to Postgres at the most', { default: '10', min: 1, max: 100 }),
  leaseMs: duration('CLAIM_LEASE', 'How long a grant holds without being renewed, where the caller does not say', { default: '30s' }),
  retentionMs: duration('CLAIM_RETENTION', 'How long a key answers with how its work ended', { default: '24h' }),
  reapEveryMs: duration('REAP_EVERY', 'How often completed claims that no longer answer are removed', { default: '1m' }),
}
