/** The variables of the actions service. */
import { type Config, ConfigError, type Spec, duration, flag, integer, list, optional, secret, text, url } from '#mesh/config.ts'
import { accessVariables, identityVariables } from '#mesh/identity/variables.ts'
import { checkSignatureSecrets, signatureVariables } from '#mesh/signature-variables.ts'
import { databaseVariables, grpcVariables } from '#mesh/variables.ts'
import { isLoopback } from '#mesh/loopback.ts'
import { providers } from '#providers/list.ts'

/** The API facet of each provider: nothing about how accounts are connected is loaded here. */
const builtIn = await Promise.all(providers.map(async ({ name, api }) => ({ name, ...(await api()) })))
const apiVariables: Spec = Object.fromEntries(
  builtIn.map(({ baseUrl }) => [baseUrl.variable, url(baseUrl.variable, baseUrl.doc, ['https', 'http'], { default: baseUrl.default })]),
)
/** The API's URL of each, by its variable: a spec that is built from a list has no type for each. */
const urlsIn = (config: object) => config as Readonly<Record<string, URL>>

export const variables = {
  ...grpcVariables,
  ...databaseVariables,
  ...identityVariables,
  ...accessVariables,
  databaseUrl: secret('DATABASE_URL', "The service's own Postgres database, as postgres://user:password@host:port/database"),
  databaseConnections: integer('DATABASE_CONNECTIONS', 'Maximum Postgres connections; one more is for the readiness check', {
    default: '10',
    min: 1,
    max: 200,
  }),
  idempotencyAddress: text('IDEMPOTENCY_ADDR', 'The idempotency service, as host:port; several replicas joined by +'),
  oauthAddress: optional(text('OAUTH_ADDR', 'The oauth service, as above; if unset, actions of connected accounts are unavailable')),
  ...apiVariables,
  sandbox: optional(url('RELAY_SANDBOX', 'URL of a sandbox on this machine, in place of all providers; never in production', ['http'])),
  providerMs: duration('PROVIDER_TIMEOUT', 'Timeout of one request to a provider', { default: '15s', minMs: 100, maxMs: 60_000 }),
  providerRequests: integer('PROVIDER_CONCURRENCY', 'Maximum concurrent requests to one provider; half of them for one workspace', {
    default: '64',
    min: 2,
    max: 1000,
  }),
  enabled: flag('ACTIONS_ENABLED', 'false: every call answers 501', { default: 'true' }),
  ...signatureVariables,
  previewMs: duration('PREVIEW_TTL', 'Lifetime of a preview', { default: '1h' }),
  runLeaseMs: duration('RUN_LEASE', 'Lease of a run without renewal, before another replica may take it over', {
    default: '15s',
  }),
  runActMs: duration('RUN_DEADLINE', 'Maximum time of an action', { default: '60s' }),
  runDetailsMs: duration('RUN_DETAILS_RETENTION', 'Retention of the parameters and the result of an ended run', {
    default: '168h',
    minMs: 24 * 3_600_000,
  }),
  runsMs: duration('RUN_RETENTION', 'Retention of an ended run; both not shorter than CLAIM_RETENTION of idempotency', {
    default: '2160h',
    minMs: 24 * 3_600_000,
  }),
  waitMs: duration('EXECUTE_WAIT', 'Maximum wait of an execute for the same run in progress elsewhere, before it returns 409', {
    default: '5s',
  }),
  reconcileMs: duration('RECONCILE_EVERY', 'Interval of the search for lost runs', { default: '1s' }),
  outboxMs: duration('OUTBOX_EVERY', 'Interval at which undelivered outcomes of ended runs are sent again', { default: '1s' }),
  webhookUrl: optional(text('WEBHOOK_URL', 'Target of webhook.save if a preview names no url')),
  webhookMs: duration('WEBHOOK_TIMEOUT', 'Timeout of a webhook receiver', { default: '10s' }),
  webhookDeliveries: integer('WEBHOOK_CONCURRENCY', 'Maximum concurrent webhooks; half of them for one workspace', {
    default: '256',
    min: 2,
    max: 5000,
  }),
  webhookAllowPrivate: list(
    'WEBHOOK_ALLOW_PRIVATE',
    'Address ranges (CIDR) that webhooks may go to although they are not public, e.g. 127.0.0.0/8,::1/128; for tests and local mode',
  ),
}

/** Checks that concern several variables. Throws ConfigError. */
export function checkConfig(config: Config<typeof variables> & { environment: string }): void {
  checkSignatureSecrets(config)
  if (config.signatureRoot === undefined && config.signingSecret === undefined) throw new ConfigError('SIGNATURE_ROOT_SECRET is not set')
  if (config.environment === 'production' && config.sandbox !== undefined) throw new ConfigError('RELAY_SANDBOX is not for production')
  if (config.sandbox !== undefined && !isLoopback(config.sandbox.hostname)) throw new ConfigError('RELAY_SANDBOX is not on this machine')
  // Otherwise a run would be given up before its one request, and its outcome would stay unknown.
  for (const [name, ms] of [
    ['PROVIDER_TIMEOUT', config.providerMs],
    ['WEBHOOK_TIMEOUT', config.webhookMs],
  ] as const) {
    if (ms > config.runActMs) throw new ConfigError(`RUN_DEADLINE is shorter than ${name}: a run cannot end before its request may`)
  }
  // Tokens are sent there.
  for (const { variable: name } of builtIn.map(({ baseUrl }) => baseUrl)) {
    const at = urlsIn(config)[name]!
    const plain = at.protocol === 'http:' && (config.environment === 'production' || !isLoopback(at.hostname))
    if (plain) throw new ConfigError(`${name} is plain http, which is only for this machine, and never for production`)
    if (at.username !== '' || at.search !== '' || at.hash !== '') throw new ConfigError(`${name} is more than a scheme, a host and a path`)
  }
}

/** The URLs of the providers' APIs, the timeout of one request to them, and how many requests leave at once. */
export const apis = (config: Config<typeof variables>) => ({
  apis: builtIn.map(({ name, baseUrl, actions }) => ({
    name,
    actions,
    url: config.sandbox === undefined ? urlsIn(config)[baseUrl.variable]! : new URL(baseUrl.sandboxPath ?? '/', config.sandbox),
  })),
  timeoutMs: config.providerMs,
  concurrency: { deliveries: config.webhookDeliveries, providerRequests: config.providerRequests },
})
