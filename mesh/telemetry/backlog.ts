/** The values of a backlog's gauges: the last one read, and its lag grows while the store does not respond. */
import { setTimeout as pause } from 'node:timers/promises'

export interface Backlog {
  readonly count: number
  /** The age of the oldest, in milliseconds. */
  readonly lagMs: number
}

/** Several gauges of one scrape share one read. */
const memoryMs = 1000
/** A scrape has seconds for everything: if it timed out, it would show no gauge at all. */
const waitMs = 1000

/** `look` may fail and may take long, and an alert must be able to fire just then. Returns `nothing` before the first result. */
export function backlogReader<Seen extends Backlog>(look: () => Promise<Seen>, nothing: Seen): () => Promise<Seen> {
  let [last, seenAt, askedAt] = [nothing, 0, -Infinity]
  let looking: Promise<void> | undefined
  const see = async () => {
    try {
      last = await look()
      seenAt = performance.now()
    } catch {
      // The last result stays valid.
    } finally {
      looking = undefined
    }
  }
  return async () => {
    if (looking === undefined && performance.now() - askedAt > memoryMs) {
      askedAt = performance.now()
      looking = see()
    }
    if (looking !== undefined) await Promise.race([looking, pause(waitMs, undefined, { ref: false })])
    // Meanwhile no consumer could take from it either.
    return last.count === 0 ? last : { ...last, lagMs: last.lagMs + performance.now() - seenAt }
  }
}
