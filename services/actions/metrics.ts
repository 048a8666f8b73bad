/** The instruments of the actions service. Labels come from the catalog and the adapters' closed sets. */
import type { FairSlots } from '#mesh/fair-slots.ts'
import { providerNames } from '#providers/list.ts'
import { lookupOutcomes } from '#mesh/outgoing/resolver.ts'
import { backlogReader } from '#mesh/telemetry/backlog.ts'
import type { Metrics } from '#mesh/telemetry/metrics.ts'
import type { TraceContext } from '#mesh/telemetry/trace-context.ts'
import type { OutgoingCounts } from './adapters/builtin-actions.ts'
import { statusClasses } from './adapters/provider-http.ts'
import { type Queue, queues } from './adapters/slots.ts'
import { deliveryReasons } from './adapters/webhook.ts'
import { type Run, executorReasons, durationMs } from './runs/run.ts'
import { type Verdict, verdicts } from './runs/settlement.ts'
import type { Store } from './store.ts'

/** Outgoing requests. */
export function outgoingMetrics(metrics: Metrics): OutgoingCounts {
  const outcome = ['success', ...deliveryReasons] as const
  const deliveries = metrics.counter('webhook_attempts_total', 'Webhook deliveries by outcome', { outcome })
  const deliverySeconds = metrics
    .histogram('webhook_attempt_seconds', 'Duration of a webhook delivery, from DNS lookup to the end of the response')
    .labels({})
  const requests = metrics.counter('provider_requests_total', "Requests to providers' APIs by status class; none: no response", {
    provider: providerNames,
    status_class: statusClasses,
  })
  const requestSeconds = metrics.histogram('provider_request_seconds', 'Duration of a request to a provider, to the end of the response', {
    provider: providerNames,
  })
  const refused = metrics.counter(
    'outgoing_queue_rejected_total',
    'Outgoing requests not sent because the queue was full or the wait timed out',
    {
      queue: queues,
      reason: ['full', 'timeout'],
    },
  )
  const waited = metrics.histogram('outgoing_queue_wait_seconds', 'Time an outgoing request waits in its queue', ['queue'])
  const lookups = metrics.counter('dns_lookups_total', 'DNS lookups of webhook targets and providers, by outcome', {
    outcome: lookupOutcomes,
  })
  const lookupSeconds = metrics.histogram('dns_lookup_seconds', 'Duration of a DNS lookup').labels({})
  const watched = new Map<Queue, FairSlots>()
  const gauge = (name: string, help: string, read: (slots: FairSlots) => number) =>
    metrics.gauge(name, help, ['queue'], (each) => {
      for (const [queue, slots] of watched) each.set({ queue }, read(slots))
    })
  gauge('outgoing_in_flight', 'Outgoing requests in flight', ({ held }) => held)
  gauge('outgoing_queued', 'Outgoing requests waiting in their queue', ({ queued }) => queued)
  return {
    watch(queue, slots) {
      watched.set(queue, slots)
      return slots
    },
    onTurn(queue) {
      const wait = waited.labels({ queue })
      return (outcome, seconds) => {
        if (outcome === 'held') wait.observe(seconds)
        else if (outcome !== 'stopped') refused.inc({ queue, reason: outcome })
      }
    },
    onLookup(outcome, seconds) {
      lookups.inc({ outcome })
      lookupSeconds.observe(seconds)
    },
    delivery(came, seconds) {
      deliveries.inc({ outcome: came })
      if (seconds !== undefined) deliverySeconds.observe(seconds)
    },
    request(provider, status, seconds) {
      requests.inc({ provider, status_class: status })
      requestSeconds.labels({ provider }).observe(seconds)
    },
  }
}

export class ActionMetrics {
  readonly #executed
  readonly #failed
  readonly #latency
  readonly #previews
  readonly #replays
  readonly #taken
  readonly #late
  readonly #settled
  readonly #heartbeatGaps

  /** `actions`: all of them; what is counted per action starts at 0 for each. */
  constructor(
    metrics: Metrics,
    store: Pick<Store, 'pending'>,
    actions: readonly (Pick<Run, 'provider' | 'action'> & { readonly reasons: readonly string[] })[] = [],
  ) {
    this.#executed = metrics.counter('action_exec_total', 'Finished runs by status', ['provider', 'action', 'status'])
    this.#failed = metrics.counter('action_error_total', 'Runs that failed or have an unknown outcome, by reason', [
      'provider',
      'action',
      'reason',
    ])
    this.#latency = metrics.histogram('action_latency_seconds', 'Duration of a run, from start to end', ['provider', 'action'])
    this.#previews = metrics.counter('action_preview_total', 'Previews created', ['provider', 'action'])
    this.#replays = metrics.counter('action_replay_total', 'Execute requests answered from an earlier run', ['provider', 'action'])
    this.#taken = metrics.counter('action_taken_over_total', 'Runs taken over by the reconciler after their owner was lost', [
      'provider',
      'action',
    ])
    this.#late = metrics.counter('action_late_outcome_total', 'Outcomes written by an earlier owner after its run was taken over', [
      'provider',
      'action',
      'status',
    ])
    this.#settled = metrics.counter('action_settled_total', 'Runs with an unknown outcome that an operator settled, by verdict', [
      'provider',
      'action',
      'verdict',
    ])
    this.#heartbeatGaps = metrics.counter('heartbeat_gaps_total', 'Times that no replica could write its heartbeat to the database')
    for (const { provider, action, reasons } of actions) {
      for (const verdict of verdicts) this.#settled.inc({ provider, action, verdict }, 0)
      for (const status of ['success', 'failed']) this.#late.inc({ provider, action, status }, 0)
      for (const status of ['success', 'failed', 'unknown']) this.#executed.inc({ provider, action, status }, 0)
      for (const reason of new Set([...reasons, ...executorReasons])) this.#failed.inc({ provider, action, reason }, 0)
      this.#latency.labels({ provider, action })
      for (const each of [this.#previews, this.#replays, this.#taken]) each.inc({ provider, action }, 0)
    }
    const read = backlogReader(() => store.pending(), { count: 0, lagMs: 0 })
    metrics.gauge('action_outbox_backlog', 'Finished runs not yet reported to the idempotency service', [], async (gauge) =>
      gauge.set((await read()).count),
    )
    metrics.gauge('action_outbox_lag_seconds', 'Time since the oldest of these runs finished', [], async (gauge) =>
      gauge.set((await read()).lagMs / 1000),
    )
  }

  previewed(provider: string, action: string): void {
    this.#previews.inc({ provider, action })
  }

  /** `trace`: that of the run, for the exemplar. */
  ended(run: Run, trace?: TraceContext): void {
    const { provider, action, status } = run
    this.#executed.inc({ provider, action, status })
    if (run.errorReason !== undefined) this.#failed.inc({ provider, action, reason: run.errorReason })
    this.#latency.labels({ provider, action }).observe((durationMs(run) ?? 0) / 1000, trace)
  }

  /** The database could not be written to for a while. */
  heartbeatGap(): void {
    this.#heartbeatGaps.inc()
  }

  endedLate({ provider, action, status }: Run): void {
    this.#late.inc({ provider, action, status })
  }

  settled({ provider, action }: Run, verdict: Verdict): void {
    this.#settled.inc({ provider, action, verdict })
  }

  replayed({ provider, action }: Run): void {
    this.#replays.inc({ provider, action })
  }

  takenOver({ provider, action }: Run): void {
    this.#taken.inc({ provider, action })
  }
}
