/** Where the chains are kept. A store that cannot be reached throws DEPENDENCY_UNAVAILABLE. */
import type { AuditEvent, AuditOutcome } from '#mesh/audit/event.ts'
import type { Entry, Link, Statement } from './chain.ts'

/** What the service does: it reads and adds. */
export interface AuditStore {
  /**
   * Takes events into the chains of their workspaces, in their order, all or none. Answers with the entries that were made: an event that
   * was taken before, or stands twice among these, makes no other. Where it throws, the outcome may not be known; it is safe to repeat.
   */
  append(events: readonly AuditEvent[]): Promise<Entry[]>
  list(query: EntryQuery): Promise<EntryPage>
}

/** Exactly these, where given; times compare with when it occurred, in RFC 3339. */
export interface EntryFilter {
  readonly action?: string | undefined
  readonly outcome?: AuditOutcome | undefined
  readonly actor?: string | undefined
  readonly keyId?: string | undefined
  readonly target?: string | undefined
  /** At or after. */
  readonly from?: string | undefined
  /** Before. */
  readonly until?: string | undefined
}

export interface EntryQuery {
  readonly workspace: string
  readonly filter: EntryFilter
  readonly order: 'newest first' | 'oldest first'
  readonly limit: number
  /** The sequence of the last entry of the page before. */
  readonly after: number | undefined
}

/** May have fewer entries than were asked for, even none, and be followed by another: a page takes only so long to find. */
export interface EntryPage {
  readonly entries: readonly Entry[]
  /** Where the next page goes on; undefined on the last. */
  readonly next: number | undefined
}

/** The chains as they stand at one moment, whatever is added or cut meanwhile. Rows are told as they are, however wrong. */
export interface ChainView {
  /** Those that have entries or checkpoints. */
  workspaces(): AsyncIterable<string>
  checkpoints(workspace: string): AsyncIterable<Statement>
  /** By sequence. */
  entries(workspace: string): AsyncIterable<Entry>
  /** The last entry, or else the last checkpoint. */
  last(workspace: string): Promise<Link | undefined>
  /** Of the entries at these sequences, where there are any. */
  macs(workspace: string, sequences: readonly number[]): Promise<Map<number, Buffer>>
}

/** What verifying reads. */
export interface ChainReader {
  look<T>(work: (view: ChainView) => Promise<T>): Promise<T>
}

/** What retention does, by a role of its own. */
export interface ChainCutter {
  /** Those with entries recorded longer ago than this, by the store's clock. */
  workspacesOlderThan(ageMs: number): Promise<string[]>
  /**
   * Cuts the oldest entries of a chain, up to the first that was recorded less long ago and `most` at the most, in one transaction. `state`
   * is given the last checkpoint before them and the entries; its checkpoint takes their place. Where it throws, nothing is cut.
   */
  cut(request: CutRequest): Promise<number>
}

export interface CutRequest {
  readonly workspace: string
  readonly ageMs: number
  readonly max: number
  /** `at` is the store's time. */
  readonly state: (checkpoint: Statement | undefined, entries: readonly Entry[], at: string) => Statement
}
