/**
 * Sends the events of acts to access. They were written in the transactions of the acts. They are sent at least once, and access appends
 * each once. Several replicas may send from one outbox.
 */
import { Loop } from '../loop.ts'
import { backlogReader } from '../telemetry/backlog.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { type Append, deliver, maxConcurrency } from './delivery.ts'
import { type AuditEvent, readAuditEvent } from './event.ts'

export interface QueuedEvent {
  readonly eventId: string
  /** JSON, as written with the act. */
  readonly event: string
  /** How often it was claimed, including this time. */
  readonly attempts: number
}

export interface AuditOutboxStore {
  /** Claims events that are due, each for one claimant, and defers them by `retryMs` in case the claimant dies. */
  take(options: { limit: number; retryMs: number }): Promise<readonly QueuedEvent[]>
  /** Deletes them. */
  sent(eventIds: readonly string[]): Promise<void>
  putOff(eventIds: readonly string[], forMs: number): Promise<void>
  /** How many are pending, the age of the oldest in milliseconds, and how many are dead letters; counted up to a limit. */
  backlog(): Promise<{ count: number; lagMs: number; deadLetters: number }>
}

export interface AuditOutboxParts {
  store: AuditOutboxStore
  append: Append
  log: Logger
  metrics: Metrics
  intervalMs: number
}

/** Longer than one delivery may take, so that no other replica sends the same events meanwhile. */
const retryMs = 30_000
/** Access rejected the event as invalid: it is for an operator, and tried again once per day. */
export const deadLetterMs = 24 * 3_600_000
/** While access is unavailable. */
const failingMs = 10_000
/** Acts in quick succession are sent together: one statement for many costs little more than one for one. */
const gatherMs = 50

const idsOf = (events: readonly { eventId: string }[]): string[] => events.map(({ eventId }) => eventId)

export class AuditOutbox {
  readonly #parts: AuditOutboxParts
  readonly #loop: Loop
  #gathering: NodeJS.Timeout | undefined

  constructor(parts: AuditOutboxParts) {
    this.#parts = parts
    const { intervalMs, log } = parts
    this.#loop = new Loop({ name: 'audit outbox', intervalMs, failingMs: Math.max(intervalMs, failingMs), log, work: () => this.relay() })
    this.#measure()
  }

  start(): void {
    this.#loop.start()
  }

  /** Events that were not sent are left for another replica, or the next start. */
  async stop(): Promise<void> {
    clearTimeout(this.#gathering)
    await this.#loop.stop()
  }

  /** Reports that an act was just written. Cheap to call often. */
  poke(): void {
    this.#gathering ??= setTimeout(() => {
      this.#gathering = undefined
      this.#loop.wake()
    }, gatherMs).unref()
  }

  /** Sends what is due. Returns true if there may be more. Throws if access or the store is unavailable. */
  async relay(): Promise<boolean> {
    const { store, append, log } = this.#parts
    const taken = await store.take({ limit: maxConcurrency, retryMs })
    if (taken.length === 0) return false
    const events: AuditEvent[] = []
    const deadLetters = new Map<string, object>()
    for (const { eventId, event, attempts } of taken) {
      const read = readAuditEvent(event)
      if (read?.eventId === eventId) events.push(read)
      else deadLetters.set(eventId, { attempts, problem: 'it cannot be read' })
    }
    // In the order in which they happened, as far as this batch knows.
    events.sort((one, other) => (one.occurredAt < other.occurredAt ? -1 : 1))
    try {
      for (const { event, error } of await deliver(events, append)) {
        deadLetters.set(event.eventId, { action: event.action, violations: error.violations })
      }
    } catch (error) {
      // Due again at once: this sender waits, and if it dies another need not.
      await store.putOff(idsOf(taken), 0).catch(() => undefined)
      throw error
    }
    for (const [id, why] of deadLetters) log.error({ event_id: id, ...why }, 'the audit log rejects an event; it is a dead letter now')
    if (deadLetters.size > 0) await store.putOff([...deadLetters.keys()], deadLetterMs)
    const sent = idsOf(events).filter((id) => !deadLetters.has(id))
    if (sent.length > 0) await store.sent(sent)
    return taken.length === maxConcurrency
  }

  #measure(): void {
    const { store, metrics } = this.#parts
    type Backlog = Awaited<ReturnType<AuditOutboxStore['backlog']>>
    const read = backlogReader<Backlog>(() => store.backlog(), { count: 0, lagMs: 0, deadLetters: 0 })
    const gauge = (name: string, help: string, value: (backlog: Backlog) => number) =>
      metrics.gauge(name, help, [], async (each) => each.set(value(await read())))
    gauge('audit_outbox_backlog', 'Audit events not yet delivered to access', ({ count }) => count)
    gauge('audit_outbox_lag_seconds', 'Age of the oldest undelivered audit event', ({ lagMs }) => lagMs / 1000)
    gauge('audit_outbox_dead_letters', 'Audit events that access rejected; the log names them', ({ deadLetters }) => deadLetters)
  }
}
