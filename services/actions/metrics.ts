/** The instruments of the actions service. Labels come from the catalog and the adapters' closed sets. */
import type { Metrics } from '#mesh/telemetry/metrics.ts'
import { type Run, durationMs } from './run.ts'
import type { Store } from './store.ts'

export class ActionMetrics {
  readonly #executed
  readonly #failed
  readonly #latency
  readonly #previews
  readonly #replays
  readonly #taken

  constructor(metrics: Metrics, store: Store) {
    this.#executed = metrics.counter('action_exec_total', 'Runs that ended, by how', ['provider', 'action', 'status'])
    this.#failed = metrics.counter('action_error_total', 'Runs that failed or whose outcome is unknown, by reason', ['provider', 'action', 'reason'])
    this.#latency = metrics.seconds('action_latency_seconds', 'Time from the start of a run to its end', ['provider', 'action'])
    this.#previews = metrics.counter('action_preview_total', 'Previews made', ['provider', 'action'])
    this.#replays = metrics.counter('action_replay_total', 'Executes answered from an earlier run', ['provider', 'action'])
    this.#taken = metrics.counter('action_taken_over_total', 'Runs that the reconciler took over from a holder that was lost', ['provider', 'action'])
    const backlog = { count: 0, lagMs: 0, at: -Infinity }
    const read = async () => {
      // Two gauges, one look a scrape.
      if (performance.now() - backlog.at < 1000) return backlog
      return Object.assign(backlog, await store.untold().catch(() => ({ count: Number.NaN, lagMs: Number.NaN })), { at: performance.now() })
    }
    metrics.gauge('action_outbox_backlog', 'Ended runs that the idempotency service has not heard of', [], async (gauge) => gauge.set((await read()).count))
    metrics.gauge('action_outbox_lag_seconds', 'How long the oldest of them is overdue', [], async (gauge) => gauge.set((await read()).lagMs / 1000))
  }

  previewed(provider: string, action: string): void {
    this.#previews.inc({ provider, action })
  }

  ended(run: Run): void {
    const { provider, action, status } = run
    this.#executed.inc({ provider, action, status })
    if (run.errorReason !== undefined) this.#failed.inc({ provider, action, reason: run.errorReason })
    this.#latency.observe({ provider, action }, (durationMs(run) ?? 0) / 1000)
  }

  replayed({ provider, action }: Run): void {
    this.#replays.inc({ provider, action })
  }

  takenOver({ provider, action }: Run): void {
    this.#taken.inc({ provider, action })
  }
}
