/**
 * What is kept of runs, and for how long: first what they sent and got goes, then they go themselves. Never while a key may still answer
 * with them: a key answers for 24 hours from when the idempotency service was told, which may be long after the end.
 */
import { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'

export interface RunPruner {
  /** Removes parameters, results and error texts of runs that ended, and were told of, longer ago than this; resolves to how many. */
  removeDetails(olderThanMs: number, limit: number): Promise<number>
  /** Removes such runs whole, once their preview is gone: as long as that is there, the run says that it has run. */
  deleteRuns(olderThanMs: number, limit: number): Promise<number>
}

export interface RetentionParts {
  pruner: RunPruner
  detailsMs: number
  runsMs: number
  log: Logger
  everyMs?: number
}

/** The clocks of two databases may differ by less than this. */
const marginMs = 3_600_000
const most = 200

/** Not started yet. */
export function retention({ pruner, detailsMs, runsMs, log, everyMs = 60_000 }: RetentionParts): Loop {
  const work = async (): Promise<boolean> => {
    const removed = await pruner.removeDetails(detailsMs + marginMs, most)
    const deleted = await pruner.deleteRuns(runsMs + marginMs, most)
    return removed === most || deleted === most
  }
  return new Loop({ name: 'retention', everyMs, log, work })
}
