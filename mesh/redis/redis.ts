/** A Redis connection that never makes anybody wait: commands fail at once while it is away, and each has its own limit. */
import { Redis, type RedisOptions } from 'ioredis'
import type { Logger } from '../telemetry/log.ts'

export interface RedisParts {
  url: URL
  log: Logger
  /** How long one command may take, in milliseconds. */
  commandMs: number
}

export const redisSchemes = ['redis', 'rediss'] as const

export function openRedis(parts: RedisParts): Redis {
  const options: RedisOptions = {
    // A queue would turn an outage into a delay for everybody who asks meanwhile.
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: parts.commandMs,
    connectTimeout: 1000,
    // A connection whose other end vanished without a word is not found out by TCP for minutes.
    socketTimeout: 5000,
    retryStrategy: (times) => Math.min(50 * times, 1000),
    reconnectOnError: (error) => error.message.includes('READONLY'),
    enableAutoPipelining: false,
    connectionName: 'relay',
  }
  const redis = new Redis(parts.url.href, options)
  let lastSaid = ''
  redis.on('error', (error: Error) => {
    // It repeats itself at every attempt.
    if (error.message !== lastSaid) parts.log.warn({ err: error }, 'redis')
    lastSaid = error.message
  })
  redis.on('ready', () => (lastSaid = ''))
  return redis
}

/** Whether the connection is usable within so many milliseconds. A process starts without Redis too: this only spares its first calls. */
export function redisReady(redis: Redis, withinMs: number): Promise<boolean> {
  if (redis.status === 'ready') return Promise.resolve(true)
  return new Promise((resolve) => {
    const end = (ready: boolean) => {
      clearTimeout(timer)
      redis.off('ready', yes)
      resolve(ready)
    }
    const yes = () => end(true)
    const timer = setTimeout(() => end(false), withinMs)
    redis.on('ready', yes)
  })
}
