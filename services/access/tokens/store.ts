/** Where signing keys are kept, for all replicas. A store that cannot be reached throws DEPENDENCY_UNAVAILABLE. */
import type { SealedPair } from './key-pair.ts'
import type { Signing } from './signing-keys.ts'

export interface SigningKey extends SealedPair, Signing {}

/** All keys, as of a moment of the store's clock (epoch milliseconds). */
export interface KeysThen {
  readonly keys: readonly SigningKey[]
  readonly now: number
}

export interface Change {
  readonly add?: SigningKey | undefined
  /** By kid. */
  readonly remove: readonly string[]
}

export interface SigningKeyStore {
  read(): Promise<KeysThen>
  /** Decides on what is there and writes it, while nobody else can: of many who do so at once each sees what those before it did. */
  change(decide: (then: KeysThen) => Change): Promise<KeysThen>
}
