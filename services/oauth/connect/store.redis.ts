/** Steps of connecting in Redis: taken by GETDEL, forgotten by their time to live. */
import type { Redis } from 'ioredis'
import { meshErrors } from '#mesh/errors.ts'
import type { ConnectStore, StepKey } from './store.ts'

export interface RedisConnectStoreParts {
  readonly redis: Redis
  /** Before every key, e.g. of a test. */
  readonly prefix?: string
}

export function redisConnectStore({ redis, prefix = '' }: RedisConnectStoreParts): ConnectStore {
  // The hash has one length and stands last: no workspace's name makes one key pass for another.
  const keyOf = ({ kind, workspace, hash }: StepKey) => `${prefix}oauth:${kind}:${workspace}:${hash}`
  return {
    async put(key, content, lifeMs) {
      const stored = await redis.set(keyOf(key), content, 'PX', Math.ceil(lifeMs), 'NX').catch(away)
      if (stored === null) throw new Error('a step of this key is there already')
    },

    async take(key) {
      return (await redis.getdel(keyOf(key)).catch(away)) ?? undefined
    },
  }
}

function away(cause: unknown): never {
  throw meshErrors.DEPENDENCY_UNAVAILABLE({ cause })
}
