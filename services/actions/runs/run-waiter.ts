/** Waits for runs to end, wherever they execute: local ends arrive at once, others are polled. One poll serves all waiters. */
import { setTimeout as pause } from 'node:timers/promises'
import { type Run, hasEnded } from './run.ts'

interface WatchedRun {
  waiting: number
  ended: Promise<Run>
  tell: (run: Run) => void
}

const firstPollMs = 20
const slowestLookMs = 250

export class RunWaiter {
  readonly #find: (runId: string) => Promise<Run | undefined>
  readonly #watched = new Map<string, WatchedRun>()

  constructor(find: (runId: string) => Promise<Run | undefined>) {
    this.#find = find
  }

  /** Notifies the waiters here that a run has ended. */
  tell(run: Run): void {
    this.#watched.get(run.runId)?.tell(run)
  }

  /** The run once it has ended; undefined if that takes longer than `timeoutMs`. */
  async ended(runId: string, timeoutMs: number): Promise<Run | undefined> {
    const watched = this.#watch(runId)
    watched.waiting += 1
    const over = new AbortController()
    try {
      return await Promise.race([watched.ended, pause(timeoutMs, undefined, { signal: over.signal })])
    } finally {
      over.abort()
      watched.waiting -= 1
    }
  }

  #watch(runId: string): WatchedRun {
    const existing = this.#watched.get(runId)
    if (existing !== undefined) return existing
    const { promise, resolve } = Promise.withResolvers<Run>()
    const watched: WatchedRun = { waiting: 0, ended: promise, tell: resolve }
    this.#watched.set(runId, watched)
    void this.#look(runId, watched)
    return watched
  }

  async #look(runId: string, watched: WatchedRun): Promise<void> {
    const told = watched.ended.then(() => true)
    for (let wait = firstPollMs; ; wait = Math.min(wait * 2, slowestLookMs)) {
      // An unavailable store may respond at the next poll, while a caller waits.
      const run = await this.#find(runId).catch(() => undefined)
      if (run !== undefined && hasEnded(run)) watched.tell(run)
      const done = await Promise.race([told, pause(wait, false)])
      if (done || watched.waiting === 0) {
        this.#watched.delete(runId)
        return
      }
    }
  }
}
