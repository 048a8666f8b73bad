/** The variables of the access service and of its programs for operators. */
import { type Config, ConfigError, type Secret, duration, integer, optional, secret, text } from '#mesh/config.ts'
import { identityVariables } from '#mesh/identity/variables.ts'
import { weaknessOf } from '#mesh/secrets.ts'
import { checkSignatureSecrets, rootVariable } from '#mesh/signature-variables.ts'
import { databaseVariables, grpcVariables } from '#mesh/variables.ts'
import { KeyDecryptionError } from './tokens/key-pair.ts'
import { maxTokenMs } from './tokens/signing-keys.ts'

/** The variables that the service and relay-access.cli.ts need for API keys. */
export const keyVariables = {
  databaseUrl: secret('DATABASE_URL', "This service's own Postgres database, as postgres://user:password@host:port/database"),
  pepper: secret('ACCESS_KEY_PEPPER', 'Secret under which API keys are hashed; the same in every replica, never stored in the database'),
}

/** The variables that they need for signing keys. */
export const signingVariables = {
  databaseUrl: keyVariables.databaseUrl,
  signingSecret: secret(
    'ACCESS_SIGNING_SECRET',
    'Secret that encrypts signing keys; the same in every replica, never stored in the database',
  ),
}

/** The variables that relay-audit.cli.ts needs. */
export const auditVariables = {
  databaseUrl: optional(secret('DATABASE_URL', "The access service's database, as postgres://user:password@host:port/database")),
  auditUrl: optional(
    secret('AUDIT_DATABASE_URL', 'Database URL for a role that may only read the audit log; takes precedence over DATABASE_URL'),
  ),
  retentionUrl: optional(
    secret('AUDIT_RETENTION_DATABASE_URL', 'Database URL for the retention role, which may delete entries; for retain'),
  ),
  auditKey: optional(secret('AUDIT_HMAC_KEY', 'Secret of the HMAC chains of the audit log; export does not need it')),
}

export const variables = {
  ...grpcVariables,
  ...databaseVariables,
  ...identityVariables,
  ...keyVariables,
  ...signingVariables,
  ...rootVariable,
  migrationDatabaseUrl: optional(
    secret(
      'MIGRATION_DATABASE_URL',
      'Database URL for the owner of the tables; if unset, the role of DATABASE_URL owns them and has all rights',
    ),
  ),
  connections: integer('DATABASE_CONNECTIONS', 'Maximum Postgres connections', { default: '10', min: 2, max: 100 }),
  auditKey: secret('AUDIT_HMAC_KEY', 'Secret of the HMAC chains of the audit log; the same in every replica, never stored in the database'),
  auditHeadsIntervalMs: duration('AUDIT_HEADS_EVERY', 'Interval at which the heads of the audit chains are signed and logged', {
    default: '60s',
    minMs: 10,
    maxMs: 24 * 3_600_000,
  }),
  auditHeadsFile: optional(text('AUDIT_HEADS_FILE', 'File to which the heads are also appended; keep it off the disk of the database')),
  auditRetentionMs: optional(
    duration('AUDIT_RETENTION', 'Retention of audit entries, e.g. 2160h for 90 days; forever if unset', {
      minMs: 3_600_000,
    }),
  ),
  auditAnonymousRetentionMs: duration(
    'AUDIT_ANONYMOUS_RETENTION',
    'Retention of audit entries about rejected sign-ins of unknown callers; requires AUDIT_RETENTION_DATABASE_URL',
    { default: '720h', minMs: 3_600_000 },
  ),
  auditRetentionDatabaseUrl: optional(
    secret('AUDIT_RETENTION_DATABASE_URL', 'Database URL for the retention role, the only role that may delete audit entries'),
  ),
  keyRetentionMs: duration('KEY_RETENTION', 'Time for which a key is still listed after it expired or was revoked', {
    default: '2160h',
    minMs: 24 * 3_600_000,
  }),
  signingKeyLifeMs: duration('SIGNING_KEY_LIFE', 'Time for which one key signs tokens before the next does', {
    default: '24h',
    minMs: 60_000,
    maxMs: 30 * 24 * 3_600_000,
  }),
  tokenMs: duration('TOKEN_TTL', 'Lifetime of a caller token; after that, the permissions of the key are read again', {
    default: '5m',
    minMs: 10_000,
    maxMs: maxTokenMs,
  }),
  exchangeLimit: integer('EXCHANGE_LIMIT', 'Maximum failed sign-ins per minute from one address (IPv6: /64); valid keys are not counted', {
    default: '120',
    min: 1,
  }),
}

/** The contracts that access serves, for health checks. */
export const serviceNames = [
  'relay.access.v1.AccessService',
  'relay.access.v1.KeysService',
  'relay.access.v1.SignaturesService',
  'relay.access.v1.AuditService',
  'envoy.service.auth.v3.Authorization',
]

/** Checks that concern several variables. Throws ConfigError. */
export function checkConfig(config: Config<typeof variables> & { environment: string }): void {
  const secrets = { ACCESS_KEY_PEPPER: config.pepper, ACCESS_SIGNING_SECRET: config.signingSecret, AUDIT_HMAC_KEY: config.auditKey }
  checkSignatureSecrets({ ...config, signingSecret: undefined })
  const named = Object.entries<Secret>({ ...secrets, ...(config.signatureRoot && { SIGNATURE_ROOT_SECRET: config.signatureRoot }) })
  for (const [name, value] of named) {
    const weakness = weaknessOf(value)
    if (config.environment === 'production' && weakness !== undefined) throw new ConfigError(`${name} ${weakness}`)
    const other = named.find(([another, its]) => another !== name && its.reveal() === value.reveal())
    if (other !== undefined) throw new ConfigError(`${name} is ${other[0]}: the two secrets must differ`)
  }
  if (config.environment === 'production' && config.migrationDatabaseUrl === undefined) {
    throw new ConfigError('MIGRATION_DATABASE_URL is not set: the role of the service must not own the audit log')
  }
  if (config.auditRetentionMs !== undefined && config.auditRetentionDatabaseUrl === undefined) {
    throw new ConfigError('AUDIT_RETENTION needs AUDIT_RETENTION_DATABASE_URL: only the retention role may delete entries')
  }
}

/** If this secret does not decrypt the keys, an operator must decide before anything is signed. Throws ConfigError. */
export function wrongSecret(error: unknown): never {
  if (!(error instanceof KeyDecryptionError)) throw error
  throw new ConfigError(
    'ACCESS_SIGNING_SECRET does not decrypt the signing key in the database, which was encrypted with a different secret: restore that secret, ' +
      'or create a new key with this one (relay-access rotate-signing-key), which signs after ten seconds',
  )
}
