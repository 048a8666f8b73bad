/** Fixed windows, counted in Redis: the one step that decides, and the names of the counters. */
import { hash } from 'node:crypto'

/** One part of what is limited, e.g. workspace=acme. */
export interface Entry {
  key: string
  value: string
}

/**
 * Takes up to ARGV[1] hits from every counter in KEYS, the same number from each: as many as the fullest allows. ARGV then holds the limit
 * and the window (ms) of each. Returns {taken, then for each its capacity, the remaining hits, ms to the window's end}.
 *
 * The time is Redis's own, so replicas need not agree on one. Windows begin at multiples of their length since the epoch, and a counter
 * expires when its window ends: its name needs no time in it, and every key that is touched is declared. Rejected hits are not counted.
 */
export const takeScript = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local hits = tonumber(ARGV[1])
local least = hits
local used, rooms = {}, {}
for i, key in ipairs(KEYS) do
  used[i] = tonumber(redis.call('GET', key) or '0')
  rooms[i] = math.min(hits, math.max(0, tonumber(ARGV[2 * i]) - used[i]))
  least = math.min(least, rooms[i])
end
local reply = {least}
for i, key in ipairs(KEYS) do
  local window = tonumber(ARGV[2 * i + 1])
  local left = window - now % window
  if least > 0 then
    redis.call('SET', key, used[i] + least, 'PX', left)
  end
  reply[3 * i - 1] = rooms[i]
  reply[3 * i] = math.max(0, tonumber(ARGV[2 * i]) - used[i] - least)
  reply[3 * i + 1] = left
end
return reply
`

/** Longer names are hashed, because Redis holds every name in memory. */
const maxPathLength = 160

/**
 * The name of a counter: `ratelimit:{relay}:workspace=acme`. The braces are a hash tag: all counters of a domain are on one node of a
 * cluster, so that one script can take from several. All input from callers is escaped, so no two descriptors share a name.
 */
export function counterKey(domain: string, entries: readonly Entry[]): string {
  const path = entries.map(({ key, value }) => `${escape(key)}=${escape(value)}`).join('&')
  // An escaped path has no colon, so none can look like a hash.
  return `ratelimit:{${escape(domain)}}:${path.length <= maxPathLength ? path : `sha256:${hash('sha256', path)}`}`
}

const escape = (text: string) => encodeURIComponent(text.toWellFormed())
