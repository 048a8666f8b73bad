/** Stores the chains. Throws DEPENDENCY_UNAVAILABLE if the store is unreachable. */
import type { AuditEvent, AuditOutcome } from '#mesh/audit/event.ts'
import type { Entry, Link, Statement } from './chain.ts'

/** The service's part: read and append. */
export interface AuditStore {
  /**
   * Appends events to the chains of their workspaces, in their order, all or none. Returns the new entries: an event that was appended
   * before, or occurs twice in the call, gets no second entry. After an error the outcome may be unknown; it is safe to repeat.
   */
  append(events: readonly AuditEvent[]): Promise<Entry[]>
  list(query: EntryQuery): Promise<EntryPage>
}

/** Exact matches of the given fields; times compare with the time of occurrence, in RFC 3339. */
export interface EntryFilter {
  readonly action?: string | undefined
  readonly outcome?: AuditOutcome | undefined
  readonly actor?: string | undefined
  readonly keyId?: string | undefined
  readonly target?: string | undefined
  /** Inclusive. */
  readonly from?: string | undefined
  /** Exclusive. */
  readonly until?: string | undefined
}

export interface EntryQuery {
  readonly workspace: string
  readonly filter: EntryFilter
  readonly order: 'newest first' | 'oldest first'
  readonly limit: number
  /** The sequence of the last entry of the previous page. */
  readonly after: number | undefined
}

/** May have fewer entries than requested, even none, although more pages follow: the search for a page is limited in time. */
export interface EntryPage {
  readonly entries: readonly Entry[]
  /** Where the next page starts; undefined on the last. */
  readonly next: number | undefined
}

/** A snapshot of the chains. Rows are returned as they are, even if they are wrong. */
export interface ChainView {
  /** The workspaces that have entries or checkpoints. */
  workspaces(): AsyncIterable<string>
  checkpoints(workspace: string): AsyncIterable<Statement>
  /** By sequence. */
  entries(workspace: string): AsyncIterable<Entry>
  /** The last entry, or else the last checkpoint. */
  last(workspace: string): Promise<Link | undefined>
  /** The MACs of the entries at these sequences, as far as they exist. */
  macs(workspace: string, sequences: readonly number[]): Promise<Map<number, Buffer>>
}

/** The part that verification reads. */
export interface ChainReader {
  look<T>(work: (view: ChainView) => Promise<T>): Promise<T>
}

/** The part that retention uses, with its own role. */
export interface ChainCutter {
  /** The workspaces that have entries recorded longer ago than this, by the store's clock. */
  workspacesOlderThan(ageMs: number): Promise<string[]>
  /**
   * Removes the oldest entries of a chain, at most `max` and up to the first that was recorded less long ago, in one transaction. `state`
   * gets the last checkpoint before them and the entries, and returns the checkpoint that replaces them. If it throws, nothing is removed.
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
