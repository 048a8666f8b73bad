/** Pending revocations. Those that a change of a connection causes are written with it. */
import type { Backlog } from '#mesh/telemetry/backlog.ts'
import type { Revocation } from './revocation.ts'

export interface RevocationStore {
  /** Beside those of connections that change. */
  add(revocation: Revocation): Promise<void>
  /** Claims what is due, each for one process, and defers it: for longer with each attempt, up to an hour. */
  take(limit: number): Promise<Revocation[]>
  done(revocationId: string): Promise<void>
  /** Whether another connection of the same account exists. */
  stands(revocation: Revocation): Promise<boolean>
  /** Gives up revocations older than so many milliseconds. Returns how many. */
  expire(olderThanMs: number, limit: number): Promise<number>
  /** How many are pending, counting at most 10,000, and the age of the oldest in milliseconds. */
  pending(): Promise<Backlog>
}
