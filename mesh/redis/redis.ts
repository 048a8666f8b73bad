/** A Redis connection that never makes a caller wait: commands fail at once while Redis is unavailable, and each has its own timeout. */
import { Redis, type RedisOptions } from 'ioredis'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { currentScope, runDetached } from '../telemetry/scope.ts'
import { type Attributes, errorType, isRecorded, startSpan } from '../telemetry/tracing.ts'

export interface RedisParts {
  url: URL
  log: Logger
  metrics?: Metrics
  /** Maximum time of one command, in milliseconds. */
  commandMs: number
}

export function openRedis(parts: RedisParts): Redis {
  const options: RedisOptions = {
    // A queue would turn an outage into a delay for all callers meanwhile.
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: parts.commandMs,
    connectTimeout: 1000,
    // TCP does not notice for minutes that the other end of a connection is gone.
    socketTimeout: 5000,
    retryStrategy: (times) => Math.min(50 * times, 1000),
    reconnectOnError: (error) => error.message.includes('READONLY'),
    enableAutoPipelining: false,
    connectionName: 'relay',
  }
  const redis = new TracedRedis(parts.url, options)
  let lastSaid = ''
  const failed = runDetached((error: Error) => {
    // The same message repeats at every attempt.
    if (error.message !== lastSaid) parts.log.warn({ err: error }, 'redis')
    lastSaid = error.message
  })
  redis.on('error', failed)
  redis.on('ready', () => (lastSaid = ''))
  parts.metrics?.gauge('redis_up', '1 while the connection to Redis is ready', [], (gauge) => gauge.set(redis.status === 'ready' ? 1 : 0))
  return redis
}

/** With a span for each command of a request, by https://opentelemetry.io/docs/specs/semconv/db/redis/, without keys and values. */
class TracedRedis extends Redis {
  readonly #server: Attributes

  constructor(url: URL, options: Omit<RedisOptions, 'replyMapping'>) {
    super(url.href, options)
    this.#server = {
      'peer.service': `redis/${url.hostname}`,
      'db.system.name': 'redis',
      // The index of the database; by this attribute Tempo recognises a span of a database.
      'db.namespace': url.pathname.slice(1) || '0',
      'server.address': url.hostname,
      'server.port': Number(url.port || 6379),
    }
  }

  override sendCommand(...[command, stream]: Parameters<Redis['sendCommand']>): unknown {
    const scope = currentScope()
    if (scope === undefined || !isRecorded(scope.trace)) return super.sendCommand(command, stream)
    const name = command.name.toUpperCase()
    const span = startSpan({ name, kind: 'client', attributes: { ...this.#server, 'db.operation.name': name } }, scope.trace)
    const response = super.sendCommand(command, stream)
    command.promise.then(
      () => span?.end(),
      (error: unknown) => {
        span?.fail(errorType(error))
        span?.end()
      },
    )
    return response
  }
}

/** Whether the connection is usable within the timeout. A process starts without Redis too: this only helps its first calls. */
export function redisReady(redis: Redis, timeoutMs: number): Promise<boolean> {
  if (redis.status === 'ready') return Promise.resolve(true)
  return new Promise((resolve) => {
    const end = (ready: boolean) => {
      clearTimeout(timer)
      redis.off('ready', yes)
      resolve(ready)
    }
    const yes = () => end(true)
    const timer = setTimeout(() => end(false), timeoutMs)
    redis.on('ready', yes)
  })
}
