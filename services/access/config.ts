/** The variables of the access service and of its programs for operators. */
import { type Config, ConfigError, type Secret, duration, integer, optional, secret, text } from '#mesh/config.ts'
import { identityVariables } from '#mesh/identity/variables.ts'
import { weaknessOf } from '#mesh/secrets.ts'
import { checkSignatureSecrets, rootVariable } from '#mesh/signature-variables.ts'
import { databaseVariables, grpcVariables } from '#mesh/variables.ts'
import { SealBroken } from './tokens/key-pair.ts'
import { maxTokenMs } from './tokens/signing-keys.ts'

/** What the service and relay-access.cli.ts need for API keys. */
export const keyVariables = {
  databaseUrl: secret('DATABASE_URL', "This service's own Postgres database, as postgres://user:password@host:port/database"),
  pepper: secret('ACCESS_KEY_PEPPER', 'What API keys are hashed with; the same in every replica, and never in the database'),
}

/** What they need for signing keys. */
export const signingVariables = {
  databaseUrl: keyVariables.databaseUrl,
  signingSecret: secret(
    'ACCESS_SIGNING_SECRET',
    'What signing keys are encrypted with; the same in every replica, and never in the database',
  ),
}

/** What relay-audit.cli.ts needs. */
export const auditVariables = {
  databaseUrl: optional(secret('DATABASE_URL', "The access service's database, as postgres://user:password@host:port/database")),
  auditUrl: optional(secret('AUDIT_DATABASE_URL', 'The same as a role that may only read the audit log; comes before DATABASE_URL')),
  retentionUrl: optional(secret('AUDIT_RETENTION_DATABASE_URL', 'The same as the role that may remove entries, for retain')),
  auditKey: optional(secret('AUDIT_HMAC_KEY', 'What the audit log is chained with; export needs none')),
}

export const variables = {
  ...grpcVariables,
  ...databaseVariables,
  ...identityVariables,
  ...keyVariables,
  ...signingVariables,
  ...rootVariable,
  migrationDatabaseUrl: optional(
    secret('MIGRATION_DATABASE_URL', 'The same database as the owner of its tables; without it DATABASE_URL is, and may do anything'),
  ),
  connections: integer('DATABASE_CONNECTIONS', 'Connections to Postgres at the most', { default: '10', min: 2, max: 100 }),
  auditKey: secret('AUDIT_HMAC_KEY', 'What the audit log is chained with; the same in every replica, and never in the database'),
  auditHeadsIntervalMs: duration('AUDIT_HEADS_EVERY', 'How often the ends of the chains of the audit log are signed and logged', {
    default: '60s',
    minMs: 10,
    maxMs: 24 * 3_600_000,
  }),
  auditHeadsFile: optional(text('AUDIT_HEADS_FILE', 'A file that they are added to as well; not on the disk of the database')),
  auditRetentionMs: optional(
    duration('AUDIT_RETENTION', 'How long entries of the audit log are kept, e.g. 2160h for 90 days; for ever where unset', {
      minMs: 3_600_000,
    }),
  ),
  auditAnonymousRetentionMs: duration(
    'AUDIT_ANONYMOUS_RETENTION',
    'How long refused sign-ins of callers that are not known are kept in the audit log; it needs AUDIT_RETENTION_DATABASE_URL too',
    { default: '720h', minMs: 3_600_000 },
  ),
  auditRetentionDatabaseUrl: optional(
    secret('AUDIT_RETENTION_DATABASE_URL', 'The same database as the role that removes what is older: no other one may'),
  ),
  keyRetentionMs: duration('KEY_RETENTION', 'How long a key is still listed after it expired or was revoked', {
    default: '2160h',
    minMs: 24 * 3_600_000,
  }),
  signingKeyLifeMs: duration('SIGNING_KEY_LIFE', 'How long tokens are signed with one key before the next', {
    default: '24h',
    minMs: 60_000,
    maxMs: 30 * 24 * 3_600_000,
  }),
  tokenMs: duration('TOKEN_TTL', 'How long a caller token lives; what a key may do is asked again after that', {
    default: '5m',
    minMs: 10_000,
    maxMs: maxTokenMs,
  }),
  exchangeLimit: integer(
    'EXCHANGE_LIMIT',
    'API keys that may fail to sign in from one address (IPv6: /64) in a minute; good keys are not counted',
    { default: '120', min: 1 },
  ),
}

/** The contracts that access serves, for those who ask after its health. */
export const serviceNames = [
  'relay.access.v1.AccessService',
  'relay.access.v1.KeysService',
  'relay.access.v1.SignaturesService',
  'relay.access.v1.AuditService',
  'envoy.service.auth.v3.Authorization',
]

/** What a single variable cannot know of itself. Throws ConfigError. */
export function checkConfig(config: Config<typeof variables> & { environment: string }): void {
  const secrets = { ACCESS_KEY_PEPPER: config.pepper, ACCESS_SIGNING_SECRET: config.signingSecret, AUDIT_HMAC_KEY: config.auditKey }
  checkSignatureSecrets({ ...config, signingSecret: undefined })
  const named = Object.entries<Secret>({ ...secrets, ...(config.signatureRoot && { SIGNATURE_ROOT_SECRET: config.signatureRoot }) })
  for (const [name, value] of named) {
    const weakness = weaknessOf(value)
    if (config.environment === 'production' && weakness !== undefined) throw new ConfigError(`${name} ${weakness}`)
    const other = named.find(([another, its]) => another !== name && its.reveal() === value.reveal())
    if (other !== undefined) throw new ConfigError(`${name} is ${other[0]}: whoever learns the one would have the other`)
  }
  if (config.environment === 'production' && config.migrationDatabaseUrl === undefined) {
    throw new ConfigError('MIGRATION_DATABASE_URL is not set: the role that serves must not own the audit log')
  }
  if (config.auditRetentionMs !== undefined && config.auditRetentionDatabaseUrl === undefined) {
    throw new ConfigError("AUDIT_RETENTION needs AUDIT_RETENTION_DATABASE_URL: the service's own role removes nothing")
  }
}

/** Keys that this secret does not open are for a person to look at before anything is signed. Throws ConfigError. */
export function wrongSecret(error: unknown): never {
  if (!(error instanceof SealBroken)) throw error
  throw new ConfigError(
    'ACCESS_SIGNING_SECRET does not open the signing key in the database, which was encrypted with another one: put that one back, ' +
      'or make a new key with this one (relay-access rotate-signing-key), which signs ten seconds later',
  )
}
