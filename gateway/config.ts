/** The gateway's variables, in addition to those that every process reads. */
import { type Config, ConfigError, type Variable, duration, flag, integer, list, listenAddress, optional, text, url } from '#mesh/config.ts'
import { identityVariables } from '#mesh/identity/variables.ts'
import { signatureProblems, signatureVariables } from '#mesh/signature-variables.ts'
import { processVariables, redisSchemes } from '#mesh/variables.ts'

/** `name=host:port` pairs as a map; a Channel takes the address. */
const upstreams: Variable<ReadonlyMap<string, string>> = {
  ...text(
    'UPSTREAMS',
    'Addresses of the services as name=host:port: replicas joined by +, services by commas; name as in the package relay.<name>.v1',
  ),
  parse: (value) => {
    if (value === undefined) throw new Error('is not set')
    const pairs = value.split(',').map((pair) => {
      const match = /^\s*([a-z0-9]+)=([^=\s]+)\s*$/.exec(pair)
      if (match === null) throw new Error(`has ${JSON.stringify(pair)}, which is not name=host:port`)
      return [match[1]!, match[2]!] as const
    })
    const names = pairs.map(([name]) => name)
    const twice = names.find((name, index) => names.indexOf(name) < index)
    if (twice !== undefined) throw new Error(`names ${twice} twice: join replicas by +`)
    return new Map(pairs)
  },
}

export const gatewayVariables = {
  ...identityVariables,
  httpListen: listenAddress('HTTP_LISTEN', 'Address of the HTTP server', { default: '127.0.0.1:8080', carries: 'keys' }),
  upstreams,
  optionalUpstreams: list(
    'OPTIONAL_UPSTREAMS',
    'Services that /ready does not require; if UPSTREAMS does not name one, its routes return 501',
    { default: 'ratelimit,access,oauth,idempotency' },
  ),
  trustedProxies: list('TRUSTED_PROXIES', 'Addresses or networks (CIDR) of the proxies in front, whose X-Forwarded-For is trusted'),
  metricsPublic: flag(
    'METRICS_PUBLIC',
    'Serve /metrics without a key; otherwise it requires the permission metrics:read. ADMIN_LISTEN serves the same metrics',
  ),
  addressLimit: integer('ADDRESS_LIMIT', 'Maximum requests per minute from one address, over all keys; 0 means no limit', {
    default: '6000',
  }),
  defaultLimit: integer(
    'DEFAULT_LIMIT',
    'Requests per minute per workspace while the ratelimit service is unavailable and its limit is unknown',
    {
      default: '600',
      min: 1,
    },
  ),
  corsOrigins: list('CORS_ORIGINS', 'Web origins that may call, as https://host; required in production'),
  requireSignature: flag('REQUIRE_SIGNATURE', 'Reject bodies without an X-Signature'),
  ...signatureVariables,
  redisUrl: optional(url('REDIS_URL', 'URL of the Redis that /ready reports on', redisSchemes)),
  grafanaUrl: optional(url('GRAFANA_URL', 'URL of Grafana, for X-Trace-Link', ['http', 'https'])),
  tempoUrl: optional(url('TEMPO_URL', 'URL of Tempo, for X-Trace-Link to recorded traces', ['http', 'https'])),
  commit: processVariables.commit,
  headersMs: duration('HEADERS_TIMEOUT', 'Timeout for receiving the headers of a request', { default: '10s', minMs: 1 }),
  requestMs: duration('REQUEST_TIMEOUT', 'Timeout for receiving a whole request', { default: '30s', minMs: 1 }),
  keepAliveMs: duration('KEEP_ALIVE_TIMEOUT', 'Timeout of an idle connection; set it longer than that of the load balancer in front', {
    default: '65s',
    minMs: 1,
  }),
  stalledMs: duration('SEND_STALL_TIMEOUT', 'Time after which a connection is closed if the client reads nothing of its response', {
    default: '10s',
    minMs: 100,
  }),
  maxConnections: integer('MAX_CONNECTIONS', 'Maximum open connections; more are closed at once', { default: '10000', min: 1 }),
  maxConnectionsPerAddress: integer(
    'MAX_CONNECTIONS_PER_ADDRESS',
    'Maximum open connections from one address (IPv6: /64), except TRUSTED_PROXIES; more are closed at once; 0 means no limit',
    { default: '1000' },
  ),
}

export type GatewayConfig = Config<typeof gatewayVariables>

/** Checks that concern several variables. Throws ConfigError. */
export function checkConfig(config: GatewayConfig & { environment: string }): void {
  const problems: string[] = []
  if (config.requireSignature && config.signatureRoot === undefined && config.signingSecret === undefined) {
    problems.push('REQUIRE_SIGNATURE needs SIGNATURE_ROOT_SECRET')
  }
  problems.push(...signatureProblems(config))
  for (const origin of config.corsOrigins) {
    if (URL.parse(origin)?.origin !== origin)
      problems.push(`CORS_ORIGINS has ${JSON.stringify(origin)}, which is not an origin like https://studio.example`)
  }
  if (config.environment === 'production') {
    if (config.corsOrigins.length === 0) problems.push('CORS_ORIGINS is not set')
  }
  if (problems.length > 0) throw new ConfigError(`The configuration is invalid:\n  ${problems.join('\n  ')}`)
}
