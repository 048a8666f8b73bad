/**
 * Decides whether a workspace may make one more request, which counts as one hit or, if it is large, as several. It decides from its quota
 * lease (quota-lease.ts), by a call to the ratelimit service, or, while that is unavailable, from a local bucket. It never fails.
 */
import { RateLimitServiceService } from '#gen/relay/ratelimit/v1/ratelimit.ts'
import { Breaker } from '#mesh/breaker.ts'
import { MeshError } from '#mesh/errors.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import { type Channel, methodsOf } from '#mesh/grpc/client.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { Metrics } from '#mesh/telemetry/metrics.ts'
import { TokenBuckets, untilFull, untilOne } from '#mesh/token-bucket.ts'
import { type QuotaDecision, type OnVerdict, QuotaLease, type Verdict, type PendingRequest } from './quota-lease.ts'

/** Takes hits from the limit of one entry, e.g. {key: 'workspace', value: 'acme'}. Rejects with a MeshError. */
export type Check = (entry: { key: string; value: string }, hits: number) => Promise<QuotaDecision>

/** Calls the ratelimit service, with a timeout of `timeoutMs`. */
export function checkClient(channel: Channel, timeoutMs = 100): Check {
  const service = methodsOf(RateLimitServiceService, channel)
  return async (entry, hits) => {
    const request = { domain: 'relay', descriptors: [{ entries: [entry] }], hits }
    const { decisions } = await service.check(request, ownContext(), { timeoutMs })
    const { limited, granted, limit, remaining, windowSeconds, resetMs } = decisions[0]!
    return { limited, granted, limit, windowMs: windowSeconds * 1000, remaining, resetMs }
  }
}

export interface LimiterParts {
  check: Check
  /** Requests per minute for a workspace whose limit is unknown, while the service is unavailable. */
  defaultLimit: number
  log: Logger
  metrics: Metrics
  /** A monotonic clock, in milliseconds. */
  now?: () => number
  /** The interval between probes while the service is unavailable, in milliseconds. */
  probeEveryMs?: number
  /** The maximum number of workspaces that are remembered. */
  max?: number
}

export class Limiter {
  readonly #parts: LimiterParts
  readonly #now: () => number
  readonly #max: number
  readonly #leases = new Map<string, QuotaLease>()
  readonly #buckets: TokenBuckets
  readonly #breaker: Breaker
  readonly #counts
  readonly #fallbacks

  constructor(parts: LimiterParts) {
    this.#parts = parts
    this.#now = parts.now ?? (() => performance.now())
    this.#max = parts.max ?? 10_000
    this.#buckets = new TokenBuckets(this.#max)
    this.#breaker = new Breaker({
      probe: () => this.#probe(),
      intervalMs: parts.probeEveryMs ?? 250,
      onChange: (change) =>
        change.closed
          ? parts.log.warn({ unavailable_ms: change.unavailableMs }, 'the ratelimit service responds again')
          : parts.log.warn({ reason: change.reason }, 'the ratelimit service does not respond; deciding from local buckets'),
    })
    const { metrics } = parts
    const help = 'Rate limit decisions by source and outcome'
    const sources = ['lease', 'service', 'fallback'] as const
    const decisions = metrics.counter('gateway_ratelimit_decisions_total', help, { source: sources, outcome: ['granted', 'refused'] })
    const of = (source: (typeof sources)[number]) => ({
      granted: decisions.labels({ source, outcome: 'granted' }),
      refused: decisions.labels({ source, outcome: 'refused' }),
    })
    this.#counts = { lease: of('lease'), service: of('service'), fallback: of('fallback') }
    this.#fallbacks = metrics.counter('gateway_ratelimit_fallback_total', 'Decisions made without the ratelimit service', {
      reason: ['open', 'timeout', 'error'],
    })
    metrics.gauge('gateway_ratelimit_up', '1 while the gateway uses the ratelimit service', [], (gauge) =>
      gauge.set(this.#breaker.closed ? 1 : 0),
    )
  }

  /** Whether the ratelimit service is in use. */
  get up(): boolean {
    return this.#breaker.closed
  }

  /** Takes the hits of one request from a workspace's limit. Calls `done` before it returns if no call to the service is needed. */
  decide(workspace: string, done: OnVerdict, hits = 1): void {
    const lease = this.#leaseOf(workspace)
    const now = this.#now()
    const counted: OnVerdict = (verdict) => {
      this.#counts[verdict.source][verdict.allowed ? 'granted' : 'refused'].inc()
      done(verdict)
    }
    lease.arrive(now, counted, hits)
    this.#ask(workspace, lease, now)
  }

  /**
   * Calls the service before any request needs it: the first calls between two fresh processes take longer than the timeout of a decision.
   */
  async warm(attempts = 5): Promise<void> {
    for (let attempt = 1; attempt <= attempts; attempt += 1) {
      try {
        return void (await this.#probe())
      } catch {
        // This call only warms the connection: while the service is unavailable, decisions are local.
      }
    }
  }

  stop(): void {
    this.#breaker.stop()
  }

  /** No rule limits a probe: it goes through the service and changes nothing. */
  #probe(): Promise<unknown> {
    return this.#parts.check({ key: 'probe', value: 'gateway' }, 1)
  }

  #ask(workspace: string, lease: QuotaLease, now: number): void {
    if (!this.#breaker.closed) {
      this.#decideHere(workspace, lease, lease.handOver(), 'open')
      return
    }
    const hits = lease.question(now)
    if (hits === 0) return
    this.#parts.check({ key: 'workspace', value: workspace }, hits).then(
      (response) => {
        lease.answered(response, this.#now())
        this.#ask(workspace, lease, this.#now())
      },
      (error: unknown) => {
        const code = error instanceof MeshError ? error.code : 'INTERNAL'
        // A request that the service rejects as invalid says nothing about the health of the service.
        if (code !== 'INVALID_ARGUMENT') this.#breaker.open(code)
        this.#decideHere(workspace, lease, lease.failed(), code === 'DEADLINE_EXCEEDED' ? 'timeout' : 'error')
      },
    )
  }

  /** Decides from a bucket with the last known limit. */
  #decideHere(workspace: string, lease: QuotaLease, waiting: readonly PendingRequest[], reason: 'open' | 'timeout' | 'error'): void {
    const rate = { capacity: lease.limit ?? this.#parts.defaultLimit, refillMs: lease.windowMs }
    for (const { hits, done } of waiting) {
      this.#fallbacks.inc({ reason })
      done(this.#fromBucket(workspace, rate, Math.min(hits, Math.max(1, rate.capacity))))
    }
  }

  #fromBucket(workspace: string, rate: { capacity: number; refillMs: number }, hits: number): Verdict {
    const now = this.#now()
    const allowed = this.#buckets.available(workspace, rate, now) >= hits && this.#buckets.take(workspace, rate, now, hits) === hits
    const fullAt = this.#buckets.fullAt(workspace)
    const remaining = this.#buckets.available(workspace, rate, now)
    const resetMs = Math.max(1, remaining === 0 ? untilOne(fullAt, rate, now) : untilFull(fullAt, now))
    return { allowed, source: 'fallback', limited: true, limit: rate.capacity, windowMs: rate.refillMs, remaining, resetMs }
  }

  #leaseOf(workspace: string): QuotaLease {
    const lease = this.#leases.get(workspace) ?? new QuotaLease()
    // A Map keeps the order of insertion: its first entry is the least recently used.
    this.#leases.delete(workspace)
    this.#leases.set(workspace, lease)
    if (this.#leases.size > this.#max) this.#forgetOne()
    return lease
  }

  /** Removes the least recently used lease that no request waits for. */
  #forgetOne(): void {
    for (const [workspace, lease] of this.#leases) {
      if (lease.busy) continue
      this.#leases.delete(workspace)
      return
    }
  }
}
