import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openRedis, redisReady } from '#mesh/redis/redis.ts'
import { type Redis, startRedis } from '../../deploy/local/redis.ts'
import { RedisStore } from '../../services/ratelimit/store.redis.ts'
import { counterKey } from '../../services/ratelimit/window.ts'
import { rateLimitStoreContract } from './ratelimit-store.ts'

const log = pino({ level: 'silent' })
const counter = (name: string, limit: number, windowMs = 60_000) => ({
  key: counterKey('own', [{ key: 'name', value: name }]),
  limit,
  windowMs,
})

let server: Redis
let store: RedisStore
let clients: ReturnType<typeof openRedis>[]

// Its own server: it is flushed, and its commands are counted.
beforeAll(async () => {
  server = await startRedis()
  clients = [0, 1].map(() => openRedis({ url: new URL(server.url), log, commandMs: 5000 }))
  await Promise.all(clients.map((client) => redisReady(client, 5000)))
  store = new RedisStore(clients[0]!)
})
afterAll(async () => {
  for (const client of clients) client.disconnect()
  await server.stop()
})

rateLimitStoreContract({ store: () => store, source: 'redis', prefix: () => 'redis-' })

test('two replicas share one window', async () => {
  const other = new RedisStore(clients[1]!)
  const shared = counter('shared', 10, 1e12)
  expect((await store.take([shared], 7)).granted).toBe(7)
  expect((await other.take([shared], 7)).granted).toBe(3)
})

test('every counter expires when its window ends', async () => {
  const windowMs = 60_000
  await store.take([counter('ttl-a', 5), counter('ttl-b', 5)], 1)
  for (const name of ['ttl-a', 'ttl-b']) {
    const [seconds, micros] = (await clients[0]!.time()).map(Number) as [number, number]
    const left = await clients[0]!.pttl(counter(name, 5).key)
    const nowMs = seconds * 1000 + Math.floor(micros / 1000)
    expect(left).toBeGreaterThan(0)
    // Between the two commands some milliseconds may pass.
    expect(Math.abs(((nowMs + left) % windowMs) - windowMs / 2)).toBeGreaterThan(windowMs / 2 - 100)
  }
})

test('refused hits leave no trace in Redis', async () => {
  const none = counter('none', 0)
  await store.take([none], 50)
  expect(await clients[0]!.exists(none.key)).toBe(0)
})

test('a decision over several counters is one command', async () => {
  const calls = async () => {
    const stats = await clients[0]!.info('commandstats')
    const counts = ['evalsha', 'eval', 'script\\|load'].map((name) => new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(stats)?.[1])
    return counts.map((count) => Number(count ?? 0))
  }
  const before = await calls()
  for (let index = 0; index < 10; index += 1) await store.take([counter('x', 99, 1e12), counter('y', 99, 1e12), counter('z', 99, 1e12)], 1)
  const after = await calls()
  expect(after.map((count, index) => count - before[index]!)).toEqual([10, 0, 0])
})

test('a Redis that has forgotten the script is given it again, without an error', async () => {
  await clients[0]!.script('FLUSH')
  expect((await store.take([counter('forgotten', 9, 1e12)], 1)).granted).toBe(1)
})
