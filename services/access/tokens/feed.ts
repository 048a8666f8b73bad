/** What verifiers must know to tell caller tokens: the keys that may have signed them, and the API keys that are believed no longer. */
import type { Revocation } from '../keys/key.ts'
import type { KeyStore } from '../keys/store.ts'
import type { KeyRing, PublicKey } from './key-ring.ts'
import { believedMs } from './signing-keys.ts'

export interface News {
  readonly signingKeys: readonly PublicKey[]
  /** In order. */
  readonly revocations: readonly Revocation[]
  /** What to go on from. */
  readonly sequence: number
}

/** All signing keys, and the revocations later than a sequence that a living token can still be of. */
export type Feed = (after: number) => Promise<News>

export function feed(parts: { ring: Pick<KeyRing, 'published'>; keys: Pick<KeyStore, 'revocationsAfter'> }): Feed {
  return async (after) => {
    const [signingKeys, { revocations, sequence }] = await Promise.all([
      parts.ring.published(),
      parts.keys.revocationsAfter(after, believedMs),
    ])
    return { signingKeys, revocations, sequence }
  }
}
