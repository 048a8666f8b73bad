/** Stores the signing keys, for all replicas. Throws DEPENDENCY_UNAVAILABLE if the store is unreachable. */
import type { SealedPair } from './key-pair.ts'
import type { Signing } from './signing-keys.ts'

export interface SigningKey extends SealedPair, Signing {}

/** All keys, as of a moment of the store's clock (epoch milliseconds). */
export interface SigningKeySnapshot {
  readonly keys: readonly SigningKey[]
  readonly now: number
}

export interface Change {
  readonly add?: SigningKey | undefined
  /** By kid. */
  readonly remove: readonly string[]
}

export interface SigningKeyStore {
  read(): Promise<SigningKeySnapshot>
  /**
   * Decides on the current keys and writes the change under a lock: each of several concurrent calls sees the changes of those before it.
   */
  change(decide: (then: SigningKeySnapshot) => Change): Promise<SigningKeySnapshot>
}
