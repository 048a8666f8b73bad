/**
 * Where API keys are kept: never the keys, only what they may do and the keyed hash that they are found by. Every change commits together
 * with its audit event and, where it ends a key, with its revocation. All time is the store's. A store that cannot be reached throws
 * DEPENDENCY_UNAVAILABLE, and the outcome of a change is then not known.
 */
import type { AuditEvent } from '#mesh/audit/event.ts'
import type { PageEnd } from '#mesh/page-token.ts'
import type { NewKey, Revocation, StoredKey } from './key.ts'

export interface KeyStore {
  /** 'limit': the workspace has as many living keys as it may. 'parent ended': as it says. Nothing was done then. */
  add(key: NewKey, event: AuditEvent): Promise<StoredKey | 'limit' | 'parent ended'>
  /** Whatever its status: who asks decides. */
  findByHash(hash: Buffer): Promise<FoundKey | undefined>
  find(workspace: string, keyId: string): Promise<FoundKey | undefined>
  /** Newest first. */
  list(page: KeyPage): Promise<{ keys: StoredKey[]; next: KeyPage['after'] }>
  /**
   * Adds a successor with the same rights and the same length of life, though none beyond its parent's end, and lets the old key end after
   * the overlap. 'ended': it has ended already. Undefined: no such key.
   */
  rotate(rotation: Rotation, event: AuditEvent): Promise<RotateResult | 'ended' | 'limit' | 'parent ended' | undefined>
  /**
   * Ends a key now, and all living keys that descend from it unless they are kept: in one step, so that none of them makes another one
   * meanwhile. Each has its event. One that was revoked before stays as it is, and has none. Undefined: no such key.
   */
  revoke(revoking: Revoking, event: (keyId: string) => AuditEvent): Promise<RevokeResult | 'children of others' | undefined>
  /**
   * Removes keys that ended longer ago than that, those that a key made before the key itself, and revocations that are as old; a piece of
   * both. How many went.
   */
  prune(keptMs: number): Promise<number>
  /** Moves forward when keys were last used, never back and never beyond now. Keys that do not exist are passed over. */
  noteUsed(uses: ReadonlyMap<string, Date>): Promise<void>
  /**
   * Revocations later than `sequence` that are not older than `sinceMs`, in order, and the sequence to go on from. None with a lower number
   * appears later. A sequence that was never reached (the store was put back to an earlier state) counts as 0.
   */
  revocationsAfter(sequence: number, sinceMs: number): Promise<{ revocations: Revocation[]; sequence: number }>
}

export interface FoundKey extends StoredKey {
  /** How long it still lives, in milliseconds, 0 or less when it has expired; undefined where it has no end. */
  readonly expiresInMs: number | undefined
}

export interface KeyPage {
  readonly workspace: string
  /** Only keys of this actor. */
  readonly actor?: string | undefined
  readonly limit: number
  /** The last key of the page before. */
  readonly after?: PageEnd | undefined
}

export interface Rotation {
  readonly workspace: string
  readonly keyId: string
  /** The successor's. */
  readonly freshId: string
  readonly freshHash: Buffer
  readonly createdBy: string
  /** The key that asks, which becomes the successor's parent. */
  readonly parent: string | undefined
  /** How long the old key goes on at the most; 0: not at all. */
  readonly overlapMs: number
}

export interface RotateResult {
  readonly fresh: StoredKey
  readonly previous: StoredKey
}

export interface Revoking {
  readonly workspace: string
  readonly keyId: string
  /** Ends this key alone. */
  readonly keepChildren: boolean
  /** Where a living descendant is another actor's, nothing is done; any actor's may be where undefined. */
  readonly childrenOf: string | undefined
}

export interface RevokeResult {
  readonly key: StoredKey
  /** Ids of the descendants that ended with it. */
  readonly children: readonly string[]
}
