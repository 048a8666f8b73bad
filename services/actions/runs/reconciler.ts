/** Finds runs whose owner was lost, on any replica, and lets their adapter find out what happened. Never a second effect. */
import { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import { withRootSpan } from '#mesh/telemetry/tracing.ts'
import type { RunExecutor } from './run-executor.ts'
import { gapMs, runHeartbeat } from './heartbeat.ts'
import type { ActionMetrics } from '../metrics.ts'
import { type Run, traceOf } from './run.ts'
import type { Store } from '../store.ts'

export interface ReconcilerParts {
  store: Store
  executor: RunExecutor
  metrics: ActionMetrics
  log: Logger
  leaseMs: number
  intervalMs: number
  /** How much longer expired previews are kept, for diagnosis. */
  keepPreviewsMs: number
}

/** At a time, so that a crash of many does not become a burst of many. */
const max = 10
const previewsAtOnce = 500

export class Reconciler {
  readonly #parts: ReconcilerParts
  readonly #loop: Loop
  readonly #heartbeat: Loop

  constructor(parts: ReconcilerParts) {
    this.#parts = parts
    this.#loop = new Loop({ name: 'reconciler', intervalMs: parts.intervalMs, log: parts.log, work: () => this.round() })
    this.#heartbeat = runHeartbeat(parts)
  }

  start(): void {
    this.#heartbeat.start()
    this.#loop.start()
  }

  /** The heartbeat continues while a round executes what it has taken over. */
  async stop(): Promise<void> {
    await this.#loop.stop()
    await this.#heartbeat.stop()
  }

  /** True if there may be more. */
  async round(): Promise<boolean> {
    const { store, executor, metrics, log, leaseMs, keepPreviewsMs } = this.#parts
    const since = performance.now()
    const lost = await store.claimExpiredRuns({ limit: max, leaseMs, gapMs: gapMs(leaseMs), except: executor.held() })
    await Promise.all(
      lost.map((run) =>
        withRootSpan({ name: 'reconcile run', kind: 'internal', attributes: aboutRun(run), links: traceOf(run) }, workOn(run), async () => {
          metrics.takenOver(run)
          const ended = await executor.drive(run, since)
          log.warn({ action: run.action, attempt: run.epoch, status: ended.status }, 'reconciled a lost run')
        }),
      ),
    )
    const deleted = await store.deletePreviews(keepPreviewsMs, previewsAtOnce)
    return lost.length === max || deleted === previewsAtOnce
  }
}

const aboutRun = ({ runId, workspace }: Run) => ({ 'relay.run_id': runId, 'relay.workspace_id': workspace })
/** It continues under the id of the request that began it. */
const workOn = ({ requestId, workspace, runId }: Run) => ({ requestId, workspace, runId })
