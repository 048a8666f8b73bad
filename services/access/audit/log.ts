/** Appends events to the chains: concurrent events share a transaction; appended events are counted and passed to the heads. */
import type { AuditEvent } from '#mesh/audit/event.ts'
import { batch } from '#mesh/batch.ts'
import type { Instruments } from '../metrics.ts'
import type { Entry } from './chain.ts'
import { wellFormed } from './event-schema.ts'
import type { AuditStore } from './store.ts'

export interface AuditLogParts {
  store: Pick<AuditStore, 'append'>
  /** Receives new entries (heads.ts). */
  heads: { note(entries: readonly Entry[]): void }
  instruments: Pick<Instruments, 'auditEvents' | 'auditAppend'>
}

/** Maximum events per transaction. */
const maxBatchSize = 500
/** Maximum queued events. If a caller is rejected, some of its events may still be appended. */
const maxQueueSize = 20_000

export class AuditLog {
  readonly #parts: AuditLogParts
  readonly #take: (event: AuditEvent) => Promise<void>

  constructor(parts: AuditLogParts) {
    this.#parts = parts
    // One round at a time: two would mostly wait for the same chains.
    this.#take = batch((events) => this.#takeAll(events), { maxBatchSize, maxQueueSize, concurrency: 1 })
  }

  /**
   * Resolves once all events are in their chains, possibly from an earlier call. Throws INVALID_REQUEST if one is invalid; then none is
   * appended. After any other error some may have been. Safe to repeat.
   */
  async append(events: readonly AuditEvent[]): Promise<void> {
    await Promise.all(wellFormed(events).map(this.#take))
  }

  async #takeAll(events: readonly AuditEvent[]): Promise<undefined[]> {
    const { store, heads, instruments } = this.#parts
    const timed = instruments.auditAppend.startTimer()
    const entries = await store.append(events)
    timed()
    heads.note(entries)
    for (const { service, outcome } of entries) instruments.auditEvents.inc({ service, outcome })
    const repeated = new Map<string, number>()
    const taken = new Set(entries.map(({ eventId }) => eventId))
    for (const { eventId, service } of events) {
      // If an event occurs twice in one round, the first is appended.
      if (!taken.delete(eventId)) repeated.set(service, (repeated.get(service) ?? 0) + 1)
    }
    for (const [service, count] of repeated) instruments.auditEvents.inc({ service, outcome: 'repeated' }, count)
    return events.map(() => undefined)
  }
}
