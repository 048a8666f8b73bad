/** An API key as the mesh knows it: an id, rights, and a keyed hash. Only its owner has the key itself. */
import { createHmac } from 'node:crypto'
import type { Role } from './roles.ts'

export type KeyStatus = 'active' | 'expired' | 'revoked'

export interface StoredKey {
  readonly keyId: string
  readonly workspace: string
  /** The actor for whom it acts. */
  readonly actor: string
  readonly name: string
  readonly role: Role
  readonly permissions: readonly string[]
  readonly previewOnly: boolean
  /** CIDR blocks; any address if empty. */
  readonly allowedSources: readonly string[]
  readonly createdAt: Date
  readonly createdBy: string
  readonly expiresAt: Date | undefined
  readonly revokedAt: Date | undefined
  readonly lastUsedAt: Date | undefined
  /** The key that it replaces. */
  readonly replaces: string | undefined
  /** The key that created it; undefined if an operator did, or if it is older than this record. */
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
  /** It expires no later than this key, and is not added if this key has ended. */
  readonly parent: string | undefined
  /** Its lifetime; until revoked if undefined. */
  readonly lifetimeMs: number | undefined
}

/** From `notAfter` on, no token of the key is valid. */
export interface Revocation {
  readonly sequence: number
  readonly keyId: string
  readonly notAfter: Date
}

/** Maximum active keys per workspace. */
export const maxKeys = 1000

/** The hash by which a key is found. */
export type KeyHash = (apiKey: string) => Buffer

/** HMAC-SHA256 under a pepper that is not in the database: with the table alone, an attacker can neither use a key nor test a guess. */
export const keyHash =
  (pepper: string): KeyHash =>
  (apiKey) =>
    createHmac('sha256', pepper).update(apiKey).digest()
