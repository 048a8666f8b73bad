/** The way into the chains: events that arrive together are taken together, and what was taken is counted and told to the heads. */
import type { AuditEvent } from '#mesh/audit/event.ts'
import { batch } from '#mesh/batch.ts'
import type { Instruments } from '../metrics.ts'
import type { Entry } from './chain.ts'
import { wellFormed } from './event-schema.ts'
import type { AuditStore } from './store.ts'

export interface AuditLogParts {
  store: Pick<AuditStore, 'append'>
  /** What is told of new entries (heads.ts). */
  heads: { note(entries: readonly Entry[]): void }
  instruments: Pick<Instruments, 'auditEvents' | 'auditAppend'>
}

/** Events in one transaction. */
const max = 500
/** Events that may wait for one; of a caller who is refused, some may be taken all the same. */
const room = 20_000

export class AuditLog {
  readonly #parts: AuditLogParts
  readonly #take: (event: AuditEvent) => Promise<void>

  constructor(parts: AuditLogParts) {
    this.#parts = parts
    // One round at a time: two would mostly wait for the same chains.
    this.#take = batch((events) => this.#takeAll(events), { max, room, concurrency: 1 })
  }

  /**
   * Resolves once all of them are in their chains, be it from an earlier time. Throws INVALID_REQUEST where one cannot be taken, and then
   * none is; for any other error some may have been. Safe to repeat.
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
      // Of an event that stands twice in one round, the first was taken.
      if (!taken.delete(eventId)) repeated.set(service, (repeated.get(service) ?? 0) + 1)
    }
    for (const [service, count] of repeated) instruments.auditEvents.inc({ service, outcome: 'repeated' }, count)
    return events.map(() => undefined)
  }
}
