/** The gateway's variables, beside those every process reads. */
import { type Config, ConfigError, type Variable, duration, flag, integer, list, listenAddress, optional, text, url } from '#mesh/config.ts'
import { identityVariables } from '#mesh/identity/variables.ts'
import { signatureProblems, signatureVariables } from '#mesh/signature-variables.ts'
import { processVariables, redisSchemes } from '#mesh/variables.ts'

/** `name=host:port` pairs as a map; the address is one that a Channel takes. */
const upstreams: Variable<ReadonlyMap<string, string>> = {
  ...text(
    'UPSTREAMS',
    'Where the services are: name=host:port, replicas joined by +, services by commas; name is that of the package relay.<name>.v1',
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
  httpListen: listenAddress('HTTP_LISTEN', 'Where HTTP is served', { default: '127.0.0.1:8080', carries: 'keys' }),
  upstreams,
  optionalUpstreams: list(
    'OPTIONAL_UPSTREAMS',
    'Services without which /ready is still true; where UPSTREAMS does not name one, its routes answer 501',
    { default: 'ratelimit,access,oauth,idempotency' },
  ),
  trustedProxies: list('TRUSTED_PROXIES', 'Addresses or networks (CIDR) of the proxies in front, whose X-Forwarded-For is believed'),
  metricsPublic: flag(
    'METRICS_PUBLIC',
    'Serve /metrics to anybody; otherwise it wants a key that has metrics:read. ADMIN_LISTEN has the same',
  ),
  addressLimit: integer('ADDRESS_LIMIT', 'Requests a minute from one address, whoever sends them; 0 is no limit', { default: '6000' }),
  defaultLimit: integer('DEFAULT_LIMIT', 'Requests a minute of a workspace while the ratelimit service is away and never said', {
    default: '600',
    min: 1,
  }),
  corsOrigins: list('CORS_ORIGINS', 'The web origins that may call, as https://host; production refuses to start without'),
  requireSignature: flag('REQUIRE_SIGNATURE', 'Refuse bodies without an X-Signature'),
  ...signatureVariables,
  redisUrl: optional(url('REDIS_URL', 'The Redis that /ready reports on', redisSchemes)),
  grafanaUrl: optional(url('GRAFANA_URL', 'Grafana, for X-Trace-Link', ['http', 'https'])),
  tempoUrl: optional(url('TEMPO_URL', 'Tempo, for X-Trace-Link to recorded traces', ['http', 'https'])),
  commit: processVariables.commit,
  headersMs: duration('HEADERS_TIMEOUT', 'How long the headers of a request may take to arrive', { default: '10s', minMs: 1 }),
  requestMs: duration('REQUEST_TIMEOUT', 'How long a whole request may take to arrive', { default: '30s', minMs: 1 }),
  keepAliveMs: duration('KEEP_ALIVE_TIMEOUT', 'How long an idle connection is kept; longer than the balancer in front keeps it', {
    default: '65s',
    minMs: 1,
  }),
  stalledMs: duration(
    'SEND_STALL_TIMEOUT',
    'How long a client may read nothing of a response that is being sent; its connection is closed then',
    {
      default: '10s',
      minMs: 100,
    },
  ),
  maxConnections: integer('MAX_CONNECTIONS', 'Connections at a time; more are closed at once', { default: '10000', min: 1 }),
  maxConnectionsPerAddress: integer(
    'MAX_CONNECTIONS_PER_ADDRESS',
    'Connections at a time from one address (IPv6: /64), TRUSTED_PROXIES excepted; more are closed at once; 0 is no limit',
    { default: '1000' },
  ),
}

export type GatewayConfig = Config<typeof gatewayVariables>

/** What a single variable cannot know of itself. Throws ConfigError. */
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
  if (problems.length > 0) throw new ConfigError(`The configuration is not usable:\n  ${problems.join('\n  ')}`)
}
