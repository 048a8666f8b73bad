/** How a process reports to the audit log: denials in every process, acts in those that act. */
import type { Append } from './audit/delivery.ts'
import { AuditOutbox } from './audit/outbox.ts'
import { auditOutboxStore } from './audit/outbox.postgres.ts'
import { Denials } from './audit/denials.ts'
import type { Database } from './postgres/database.ts'
import type { Runtime } from './serve.ts'

export interface Auditing {
  readonly denials: Denials
  /** Relays the `audit_outbox` of a database. Call the returned function after each act: it wakes the relay. */
  relay(database: Database): () => void
}

/** The interval between polls of an outbox without a wake-up, in milliseconds. */
const intervalMs = 1000

/** Starts it, and stops it with the process. Register the channel of `append` with the runtime before, so that it is closed after. */
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
