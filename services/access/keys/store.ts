/**
 * Stores API keys: never the keys themselves, only their rights and the keyed hash that finds them. Every change commits together with its
 * audit event and, if it ends a key, with its revocation. All times are the store's. Throws DEPENDENCY_UNAVAILABLE if the store is
 * unreachable; the outcome of a change is then unknown.
 */
import type { AuditEvent } from '#mesh/audit/event.ts'
import type { PageEnd } from '#mesh/page-token.ts'
import type { NewKey, Revocation, StoredKey } from './key.ts'

export interface KeyStore {
  /** 'limit': the workspace has reached its limit of active keys. 'parent ended': the parent has ended. Nothing is changed then. */
  add(key: NewKey, event: AuditEvent): Promise<StoredKey | 'limit' | 'parent ended'>
  /** Whatever its status: the caller decides. */
  findByHash(hash: Buffer): Promise<FoundKey | undefined>
  find(workspace: string, keyId: string): Promise<FoundKey | undefined>
  /** Newest first. */
  list(page: KeyPage): Promise<{ keys: StoredKey[]; next: KeyPage['after'] }>
  /**
   * Adds a successor with the same rights and lifetime, which expires no later than its parent, and ends the old key after the overlap.
   * 'ended': the old key has ended already. Undefined: the key does not exist.
   */
  rotate(rotation: Rotation, event: AuditEvent): Promise<RotateResult | 'ended' | 'limit' | 'parent ended' | undefined>
  /**
   * Ends a key now, and all its active descendants unless they are kept, in one step, so that none of them creates another one meanwhile.
   * Each has its event. A key that was revoked before stays as it is, and has none. Undefined: the key does not exist.
   */
  revoke(revoking: RevokeInput, event: (keyId: string) => AuditEvent): Promise<RevokeResult | 'children of others' | undefined>
  /**
   * Removes one batch of keys that ended longer ago than this, children before their parents, and of revocations of that age. Returns how
   * many were removed.
   */
  prune(keptMs: number): Promise<number>
  /** Moves last-used times forward, never back and never beyond now. Ignores keys that do not exist. */
  noteUsed(uses: ReadonlyMap<string, Date>): Promise<void>
  /**
   * Revocations after `sequence` that are not older than `sinceMs`, in order, and the sequence to continue from. None with a lower number
   * appears later. A sequence that the store has not reached (it was restored to an earlier state) counts as 0.
   */
  revocationsAfter(sequence: number, sinceMs: number): Promise<{ revocations: Revocation[]; sequence: number }>
}

export interface FoundKey extends StoredKey {
  /** The remaining lifetime in milliseconds, 0 or less if it has expired; undefined if it does not expire. */
  readonly expiresInMs: number | undefined
}

export interface KeyPage {
  readonly workspace: string
  /** Only keys of this actor. */
  readonly actor?: string | undefined
  readonly limit: number
  /** The last key of the previous page. */
  readonly after?: PageEnd | undefined
}

export interface Rotation {
  readonly workspace: string
  readonly keyId: string
  /** The successor's. */
  readonly freshId: string
  readonly freshHash: Buffer
  readonly createdBy: string
  /** The calling key, which becomes the successor's parent. */
  readonly parent: string | undefined
  /** Maximum time for which the old key continues; 0: it ends at once. */
  readonly overlapMs: number
}

export interface RotateResult {
  readonly fresh: StoredKey
  readonly previous: StoredKey
}

export interface RevokeInput {
  readonly workspace: string
  readonly keyId: string
  /** Ends this key alone. */
  readonly keepChildren: boolean
  /** If an active descendant belongs to another actor, nothing is done; undefined: any actor is allowed. */
  readonly childrenOf: string | undefined
}

export interface RevokeResult {
  readonly key: StoredKey
  /** Ids of the descendants that ended with it. */
  readonly children: readonly string[]
}
