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
  connections: integer('DATABASE_CONNECTIONS', 'Maximum Postgres connections', { default: '10', min: 1, max: 100 }),
  leaseMs: duration('CLAIM_LEASE', 'Lease of a grant without renewal, if the caller does not specify one', { default: '30s' }),
  retentionMs: duration('CLAIM_RETENTION', 'Time for which a completed claim is kept', { default: '24h' }),
  reapIntervalMs: duration('REAP_EVERY', 'Interval at which completed claims are removed after their retention', { default: '1m' }),
}
