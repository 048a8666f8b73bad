/** What gauges of a backlog show: what was seen last, and while the store does not answer, older by as long as that was ago. */
import { setTimeout as pause } from 'node:timers/promises'

export interface Backlog {
  readonly count: number
  /** How long the oldest has waited, in milliseconds. */
  readonly lagMs: number
}

/** Several gauges of one scrape look once. */
const memoryMs = 1000
/** A scrape has seconds for everything: one that comes to nothing would show no gauge at all. */
const waitMs = 1000

/** `look` may fail, and may take long: an alert must be able to fire just then. Of what was never seen, it says `nothing`. */
export function backlogReader<Seen extends Backlog>(look: () => Promise<Seen>, nothing: Seen): () => Promise<Seen> {
  let [last, seenAt, askedAt] = [nothing, 0, -Infinity]
  let looking: Promise<void> | undefined
  const see = async () => {
    try {
      last = await look()
      seenAt = performance.now()
    } catch {
      // What was seen last stands.
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
    // Nobody could take it from there meanwhile either.
    return last.count === 0 ? last : { ...last, lagMs: last.lagMs + performance.now() - seenAt }
  }
}
