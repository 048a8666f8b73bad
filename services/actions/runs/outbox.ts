/**
 * Notifies the idempotency service of finished runs. The row was written with the end; it is sent at once, and by the relay until it is
 * delivered. Notifying is safe to repeat, so the sender may die at any point. It also settles claims that no run will ever complete.
 */
import { randomUUID } from 'node:crypto'
import { batch } from '#mesh/batch.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import { Loop } from '#mesh/loop.ts'
import { withRootSpan } from '#mesh/telemetry/tracing.ts'
import type { Claims } from '../claims.ts'
import { type Run, traceOf } from './run.ts'
import type { Store, PendingNotification } from '../store.ts'
import { StrandedClaims } from './stranded-claims.ts'

/** How long the first notification may take before the relay takes over. */
export const notifyAfterMs = 5000
const retryMs = 10_000
const maxBatchSize = 100

export class Outbox {
  readonly #store: Store
  readonly #claims: Claims
  readonly #log: Logger
  readonly #loop: Loop
  readonly #stranded: StrandedClaims
  /** Under load, ends are delivered and deleted together. */
  readonly #markDelivered: (runId: string) => Promise<void>
  readonly #inFlight = new Set<Promise<void>>()

  /** `strandedAfterMs`: how long after its lease a claim is examined. */
  constructor(parts: { store: Store; claims: Claims; log: Logger; intervalMs: number; strandedAfterMs: number }) {
    this.#store = parts.store
    this.#claims = parts.claims
    this.#log = parts.log
    this.#markDelivered = batch<string, void>(
      async (runIds) => {
        await parts.store.told([...runIds])
        return runIds.map(() => undefined)
      },
      { maxBatchSize },
    )
    this.#loop = new Loop({ name: 'outbox', intervalMs: parts.intervalMs, log: parts.log, work: () => this.relay() })
    this.#stranded = new StrandedClaims({ ...parts, intervalMs: 5 * parts.intervalMs, expiredForMs: parts.strandedAfterMs })
  }

  start(): void {
    this.#loop.start()
    this.#stranded.start()
  }

  async stop(): Promise<void> {
    await this.#stranded.stop()
    await this.#loop.stop()
    await Promise.allSettled(this.#inFlight)
  }

  /** Notifies of a run that ended here; never fails, because the relay follows. */
  tell(run: Run): void {
    const notification = this.#notify(run).catch((error: unknown) => {
      this.#log.debug({ err: error, run_id: run.runId }, 'the relay will report this run')
    })
    this.#inFlight.add(notification)
    void notification.finally(() => this.#inFlight.delete(notification))
  }

  async #notify(run: Run): Promise<void> {
    await this.#claims.complete({ workspace: run.workspace, kind: run.keyKind, key: run.key }, run.runId, ownContext())
    await this.#markDelivered(run.runId)
  }

  /** Sends what is due. Returns true if there may be more. */
  async relay(): Promise<boolean> {
    const due = await this.#store.claimPending({ limit: maxBatchSize, retryMs })
    if (due.length === 0) return false
    const start = { name: 'outbox relay', kind: 'internal', links: due.flatMap(traceOf) } as const
    const heard = await withRootSpan(start, { requestId: randomUUID() }, () => this.#notifyAgain(due))
    return due.length === maxBatchSize && heard === due.length
  }

  /** Resolves to how many were delivered. */
  async #notifyAgain(due: readonly PendingNotification[]): Promise<number> {
    const results = await Promise.allSettled(due.map(async ({ runId, key }) => this.#claims.complete(key, runId, ownContext())))
    const heard = due.filter((_, index) => results[index]!.status === 'fulfilled').map(({ runId }) => runId)
    if (heard.length > 0) await this.#store.told(heard)
    const failed = due.length - heard.length
    if (failed > 0) this.#log.warn({ failed, reported: heard.length }, 'failed to report completed runs; will retry')
    return heard.length
  }
}
