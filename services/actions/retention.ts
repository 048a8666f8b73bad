/**
 * What is kept of runs, and for how long: first their parameters and results are deleted, then the runs themselves. Never while a key may
 * still return them: a key does so for 24 hours from when the idempotency service was notified, which may be long after the end.
 */
import { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { Metrics } from '#mesh/telemetry/metrics.ts'

export interface RunPruner {
  /** Deletes parameters, results and error texts of runs that ended, and were reported, longer ago than this. Resolves to how many. */
  removeDetails(olderThanMs: number, limit: number): Promise<number>
  /** Deletes such runs entirely, once their preview is gone: until then, the run records that the preview was executed. */
  deleteRuns(olderThanMs: number, limit: number): Promise<number>
}

export interface RetentionParts {
  pruner: RunPruner
  detailsMs: number
  runsMs: number
  metrics: Metrics
  log: Logger
  intervalMs?: number
}

/** The maximum difference of the clocks of two databases. */
const marginMs = 3_600_000
const max = 200

/** Not started yet. */
export function retention({ pruner, detailsMs, runsMs, metrics, log, intervalMs = 60_000 }: RetentionParts): Loop {
  let caughtUpAt = performance.now()
  metrics.gauge('action_retention_lag_seconds', 'Time since this process last removed everything that was due', [], (gauge) =>
    gauge.set((performance.now() - caughtUpAt) / 1000),
  )
  const work = async (): Promise<boolean> => {
    const removed = await pruner.removeDetails(detailsMs + marginMs, max)
    const deleted = await pruner.deleteRuns(runsMs + marginMs, max)
    const more = removed === max || deleted === max
    if (!more) caughtUpAt = performance.now()
    return more
  }
  return new Loop({ name: 'retention', intervalMs, log, work })
}
