/** Encrypted access tokens in Redis, as hashes of an epoch and a text; without the text if the token was withdrawn. */
import type { Redis } from 'ioredis'
import { Script } from '#mesh/redis/script.ts'
import { type TokenCache, cacheKey, readCached, writeCached } from '../connections/token-cache.ts'
import { type TokenJournal, journalKey, readEntry, writeEntry } from './journal.ts'

/** A withdrawal is stored for as long as an earlier read might still be written, in milliseconds. */
const takenBackMs = 3_600_000

/** KEYS: entry. ARGV: epoch; text or ''; lifetime in ms. A later epoch stays, and so does a withdrawal of the same. */
const replace = `
local known = tonumber(redis.call('HGET', KEYS[1], 'e') or '-1')
local epoch = tonumber(ARGV[1])
if known > epoch or (known == epoch and ARGV[2] ~= '' and redis.call('HEXISTS', KEYS[1], 't') == 0) then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'e', ARGV[1])
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 't', ARGV[2]) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`

export interface RedisTokenCacheParts {
  readonly redis: Redis
  /** Called with the error: the cache then counts as empty. */
  readonly onFailure?: (error: unknown) => void
  /** A prefix for every key, e.g. for tests. */
  readonly prefix?: string
}

export function redisTokenCache({ redis, onFailure = () => {}, prefix = '' }: RedisTokenCacheParts): TokenCache {
  const script = new Script(replace)
  script.keepLoaded(redis)
  const write = (key: string, epoch: number, text: string, ms: number) =>
    void script.run(redis, [prefix + key], [epoch, text, Math.ceil(ms)]).catch(onFailure)
  return {
    async find(owner) {
      try {
        const [epoch, text] = await redis.hmget(prefix + cacheKey(owner), 'e', 't')
        return typeof epoch === 'string' && typeof text === 'string' ? readCached(Number(epoch), text) : undefined
      } catch (error) {
        onFailure(error)
        return undefined
      }
    },

    put(held) {
      const leftMs = held.tokens.accessExpiresAt.getTime() - Date.now()
      // A bare token of the service before this one has no context: it does not leave its row.
      if (leftMs > 0 && !held.legacy) write(cacheKey(held), held.epoch, writeCached(held), leftMs)
    },

    forget(owner) {
      write(cacheKey(owner), owner.epoch, '', takenBackMs)
    },
  }
}

/** Longer than any outage that a process is worth keeping alive for. */
const journalMs = 24 * 3_600_000

export function redisTokenJournal({ redis, onFailure = () => {}, prefix = '' }: RedisTokenCacheParts): TokenJournal {
  const keyOf = (connectionId: string) => prefix + journalKey(connectionId)
  return {
    async keep(entry) {
      await redis.set(keyOf(entry.connectionId), writeEntry(entry), 'PX', journalMs).catch(onFailure)
    },

    async find(connectionId) {
      const text = await redis.get(keyOf(connectionId)).catch(onFailure)
      return typeof text === 'string' ? readEntry(connectionId, text) : undefined
    },

    forget(connectionId) {
      void redis.del(keyOf(connectionId)).catch(onFailure)
    },
  }
}
