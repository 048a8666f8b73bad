import { once } from 'node:events'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { openRedis, redisReady } from '#mesh/redis/redis.ts'
import { hashOf } from '../../services/oauth/connect/state-token.ts'
import { redisConnectStore } from '../../services/oauth/connect/store.redis.ts'
import { sharedRedis } from '../setup/redis.ts'
import { connectStoreContract } from './connect-store.ts'

const log = pino({ level: 'silent' })

async function connected(url: string) {
  const redis = openRedis({ url: new URL(url), log, commandMs: 5000 })
  expect(await redisReady(redis, 5000)).toBe(true)
  return redis
}

connectStoreContract('Redis', async () => {
  const { url, prefix } = await sharedRedis()
  const open = await Promise.all([connected(url), connected(url)])
  const storeOf = (redis: (typeof open)[number]) => redisConnectStore({ redis, prefix })
  return {
    stores: [storeOf(open[0]), storeOf(open[1])],
    async reconnected() {
      for (const redis of open) {
        const closed = once(redis, 'close')
        redis.disconnect(true)
        await closed
        await redisReady(redis, 5000)
      }
      const again = await connected(url)
      open.push(again)
      return storeOf(again)
    },
    async everything() {
      const redis = open.at(-1)!
      const keys = await redis.keys(`${prefix}*`)
      return keys.length === 0 ? '' : (await redis.mget(keys)).join('\n')
    },
    async close() {
      for (const redis of open) redis.disconnect()
    },
  }
})

test('a state stands under the key of the service before this one, and Redis forgets it by itself', async () => {
  const { url, prefix } = await sharedRedis()
  const redis = await connected(url)
  const hash = hashOf('a nonce')
  await redisConnectStore({ redis, prefix }).put({
    kind: 'state',
    workspace: 'acme',
    hash,
    actor: 'ann',
    content: 'x',
    lifetimeMs: 600_000,
  })
  const left = await redis.pttl(`${prefix}oauth:state:acme:${hash}`)
  expect(left).toBeGreaterThan(590_000)
  expect(left).toBeLessThanOrEqual(600_000)
  redis.disconnect()
})

test('an unavailable Redis is an outage, not an unknown step', async () => {
  const redis = openRedis({ url: new URL('redis://127.0.0.1:1'), log, commandMs: 100 })
  const key = { kind: 'state' as const, workspace: 'acme', hash: hashOf('a nonce') }
  await expect(redisConnectStore({ redis }).take(key)).rejects.toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
  const step = { ...key, actor: 'ann', content: 'x', lifetimeMs: 1000 }
  await expect(redisConnectStore({ redis }).put(step)).rejects.toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
  redis.disconnect()
})
