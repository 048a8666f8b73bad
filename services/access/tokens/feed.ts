/** What verifiers must know to tell caller tokens: the keys that may have signed them, and the API keys that are believed no longer. */
import { keyEndsRememberedMs } from '#mesh/api-key.ts'
import type { Revocation } from '../keys/key.ts'
import type { KeyStore } from '../keys/store.ts'
import type { KeyRing, PublicKey } from './key-ring.ts'
import type { SignatureStore } from '../signatures/store.ts'

export interface News {
  readonly signingKeys: readonly PublicKey[]
  /** In order. */
  readonly revocations: readonly Revocation[]
  /** What to go on from. */
  readonly sequence: number
  readonly signatures: SignatureNews
}

/** Which signature keys count, as far as that changed, and of which root they are. */
export interface SignatureNews extends Awaited<ReturnType<SignatureStore['changedAfter']>> {
  readonly rootId: string
}

/**
 * All signing keys, the revocations later than a sequence that something begun with the key can still be of, and the states of signature
 * keys likewise.
 */
export type Feed = (after: { revocations: number; signatures: number }) => Promise<News>

export interface FeedParts {
  ring: Pick<KeyRing, 'published'>
  keys: Pick<KeyStore, 'revocationsAfter'>
  signatures: Pick<SignatureStore, 'changedAfter'>
  /** Of the signature keys. */
  rootId: string
}

export function feed(parts: FeedParts): Feed {
  return async (after) => {
    const [signingKeys, { revocations, sequence }, signatures] = await Promise.all([
      parts.ring.published(),
      parts.keys.revocationsAfter(after.revocations, keyEndsRememberedMs),
      parts.signatures.changedAfter(after.signatures),
    ])
    return { signingKeys, revocations, sequence, signatures: { ...signatures, rootId: parts.rootId } }
  }
}
