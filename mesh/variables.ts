/** The variables that processes have in common. Programs for operators read some of them too, and load nothing else of a process for that. */
import { choice, duration, flag, listenAddress, optional, text } from './config.ts'
import { telemetryVariables } from './telemetry/variables.ts'

/** What every process of the mesh reads. */
export const processVariables = {
  environment: choice(
    'RELAY_ENV',
    'Where this runs; production refuses weak secrets, and credentials in the clear',
    ['local', 'test', 'development', 'production'],
    {
      default: 'development',
    },
  ),
  networkEncrypted: flag(
    'NETWORK_ENCRYPTED',
    'The network encrypts what processes send each other (WireGuard, a service mesh): production may then listen beyond loopback in plain text',
  ),
  adminListen: listenAddress('ADMIN_LISTEN', 'Where /metrics, /healthz and /readyz are served', {
    default: '127.0.0.1:0',
    carries: 'nothing',
  }),
  drainDelayMs: duration(
    'DRAIN_DELAY',
    'Time for which a stopping process serves on after /readyz and gRPC health report it, so that balancers notice',
    { default: '0s', maxMs: 300_000 },
  ),
  drainMs: optional(
    duration('DRAIN_TIMEOUT', 'Maximum time for work in progress after that; if unset, as long as the longest may take', {
      maxMs: 3_600_000,
    }),
  ),
  ...telemetryVariables,
  commit: optional(text('RELAY_COMMIT', 'The commit that this was built from, for /version and metrics')),
  parentPipe: flag('RELAY_PARENT_PIPE', 'Stop when standard input ends: for a launcher whose children must not outlive it'),
}

/** Where a service's gRPC port is. */
export const grpcVariables = {
  grpcListen: listenAddress('GRPC_LISTEN', 'Where gRPC is served', { default: '127.0.0.1:0', carries: 'tokens' }),
  maxConnectionAgeMs: duration(
    'GRPC_MAX_CONNECTION_AGE',
    'How long a client uses one connection before it reconnects, so that added replicas receive traffic',
    { default: '5m', minMs: 100, maxMs: 24 * 3_600_000 },
  ),
}

/** Who migrates a service's own database. */
export const databaseVariables = {
  migrateOnStart: flag('MIGRATE_ON_START', 'false: the service waits for its database to be migrated, by relay-migrate', {
    default: 'true',
  }),
}

/** Of a REDIS_URL. */
export const redisSchemes = ['redis', 'rediss'] as const
