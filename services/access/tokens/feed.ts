/** What verifiers need to verify caller tokens: the public signing keys, and the revoked API keys. */
import { keyEndRetentionMs } from '#mesh/api-key.ts'
import type { Revocation } from '../keys/key.ts'
import type { KeyStore } from '../keys/store.ts'
import type { KeyRing, PublicKey } from './key-ring.ts'
import type { SignatureStore } from '../signatures/store.ts'

export interface FeedUpdate {
  readonly signingKeys: readonly PublicKey[]
  /** In order. */
  readonly revocations: readonly Revocation[]
  /** The sequence to continue from. */
  readonly sequence: number
  readonly signatures: SignatureUpdate
}

/** Changes of the valid signature keys, and the root secret that they belong to. */
export interface SignatureUpdate extends Awaited<ReturnType<SignatureStore['changedAfter']>> {
  readonly rootId: string
}

/**
 * All signing keys; the revocations after a sequence that can still concern a valid token; and the states of signature keys after a
 * sequence.
 */
export type Feed = (after: { revocations: number; signatures: number }) => Promise<FeedUpdate>

export interface FeedParts {
  ring: Pick<KeyRing, 'published'>
  keys: Pick<KeyStore, 'revocationsAfter'>
  signatures: Pick<SignatureStore, 'changedAfter'>
  /** The fingerprint of the root secret of the signature keys. */
  rootId: string
}

export function feed(parts: FeedParts): Feed {
  return async (after) => {
    const [signingKeys, { revocations, sequence }, signatures] = await Promise.all([
      parts.ring.published(),
      parts.keys.revocationsAfter(after.revocations, keyEndRetentionMs),
      parts.signatures.changedAfter(after.signatures),
    ])
    return { signingKeys, revocations, sequence, signatures: { ...signatures, rootId: parts.rootId } }
  }
}
