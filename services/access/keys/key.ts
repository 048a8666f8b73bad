/** What an API key is to the mesh. The key itself is known to its owner alone: here it is an id, rights, and a keyed hash. */
import { createHmac } from 'node:crypto'
import type { Role } from './roles.ts'

export type KeyStatus = 'active' | 'expired' | 'revoked'

export interface StoredKey {
  readonly keyId: string
  readonly workspace: string
  /** Who acts with it. */
  readonly actor: string
  readonly name: string
  readonly role: Role
  readonly permissions: readonly string[]
  readonly previewOnly: boolean
  /** CIDR blocks; anywhere when empty. */
  readonly allowedSources: readonly string[]
  readonly createdAt: Date
  readonly createdBy: string
  readonly expiresAt: Date | undefined
  readonly revokedAt: Date | undefined
  readonly lastUsedAt: Date | undefined
  /** The key that it was made to replace. */
  readonly replaces: string | undefined
  /** The key that made it; undefined where an operator did, or where it is older than this record. */
  readonly parent: string | undefined
  /** By the store's clock, when it was read. */
  readonly status: KeyStatus
}

export interface NewKey {
  readonly keyId: string
  readonly hash: Buffer
  readonly workspace: string
  readonly actor: string
  readonly name: string
  readonly role: Role
  readonly permissions: readonly string[]
  readonly previewOnly: boolean
  readonly allowedSources: readonly string[]
  readonly createdBy: string
  /** Its end is not after this key's, and where this key has ended it is not added. */
  readonly parent: string | undefined
  /** How long it lives; until revoked when undefined. */
  readonly lifetimeMs: number | undefined
}

/** From `notAfter` on, no token of the key is believed. */
export interface Revocation {
  readonly sequence: number
  readonly keyId: string
  readonly notAfter: Date
}

/** The most living keys of a workspace. */
export const maxKeys = 1000

/** What a key is found by. */
export type KeyHash = (apiKey: string) => Buffer

/** HMAC-SHA256 under a pepper that the database does not hold: whoever reads the table can neither use a key nor test a guess. */
export const keyHash =
  (pepper: string): KeyHash =>
  (apiKey) =>
    createHmac('sha256', pepper).update(apiKey).digest()
