/** How a process tells the audit log: of refusals in every process, and of acts in those that act. */
import type { Append } from './audit/delivery.ts'
import { AuditOutbox } from './audit/outbox.ts'
import { auditOutboxStore } from './audit/outbox.postgres.ts'
import { Denials } from './audit/denials.ts'
import type { Database } from './postgres/database.ts'
import type { Runtime } from './serve.ts'

export interface Auditing {
  readonly denials: Denials
  /** Relays what stands in `audit_outbox` of a database. What comes back is to be called after each act: it wakes the relay. */
  relay(database: Database): () => void
}

/** How often outboxes are looked into when nobody pokes. */
const intervalMs = 1000

/**
 * Starts it, and stops it with the process. What `append` goes through is to be registered with the runtime before, so that it is closed
 * after.
 */
export function auditing({ name, log, metrics, onStop }: Runtime, append: Append): Auditing {
  const denials = new Denials({ service: name, append, log, metrics })
  denials.start()
  onStop('refusals', () => denials.stop())
  return {
    denials,
    relay(database) {
      const outbox = new AuditOutbox({ store: auditOutboxStore(database, name), append, log, metrics, intervalMs })
      outbox.start()
      onStop('audit outbox', () => outbox.stop())
      return () => outbox.poke()
    },
  }
}
