/** Steps of connecting in Redis: taken by GETDEL, expired by their time to live; and per actor the keys of their possible steps. */
import type { Redis } from 'ioredis'
import { meshErrors } from '#mesh/errors.ts'
import { Script } from '#mesh/redis/script.ts'
import { type ConnectStore, type StepKey, maxSteps } from './store.ts'

/**
 * KEYS: the step; the actor's steps, by expiry. ARGV: content; lifetime in ms; maximum steps. The oldest make room. It does not matter
 * whether a key of the second still exists: it was taken, or expired.
 */
const put = `
if not redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX') then return 0 end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[2]), KEYS[1])
local surplus = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[3])
if surplus > 0 then
  for _, key in ipairs(redis.call('ZRANGE', KEYS[2], 0, surplus - 1)) do redis.call('DEL', key) end
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, surplus - 1)
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1`

export interface RedisConnectStoreParts {
  readonly redis: Redis
  /** A prefix for every key, e.g. for tests. */
  readonly prefix?: string
}

export function redisConnectStore({ redis, prefix = '' }: RedisConnectStoreParts): ConnectStore {
  const script = new Script(put)
  script.keepLoaded(redis)
  // The hash has a fixed length and comes last: no workspace's name makes one key look like another.
  const keyOf = ({ kind, workspace, hash }: StepKey) => `${prefix}oauth:${kind}:${workspace}:${hash}`
  const stepsOf = (workspace: string, actor: string) => `${prefix}oauth:steps:${[workspace, actor].map(encodeURIComponent).join(':')}`
  return {
    async put({ actor, content, lifetimeMs, ...key }) {
      const keys = [keyOf(key), stepsOf(key.workspace, actor)]
      // Redis accepts no lifetime of 0.
      const stored = await script.run(redis, keys, [content, Math.max(1, Math.ceil(lifetimeMs)), maxSteps]).catch(unavailable)
      if (stored === 0) throw new Error('a step of this key is there already')
    },

    async find(key) {
      return (await redis.get(keyOf(key)).catch(unavailable)) ?? undefined
    },

    // Redis expires them by itself.
    expire: async () => 0,

    async take(key) {
      return (await redis.getdel(keyOf(key)).catch(unavailable)) ?? undefined
    },
  }
}

function unavailable(cause: unknown): never {
  throw meshErrors.DEPENDENCY_UNAVAILABLE({ cause })
}
