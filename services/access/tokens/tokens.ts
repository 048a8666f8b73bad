/** Assembles caller tokens: signing keys, the exchange, and the feed of verifiers. */
import { AddressLimiter } from '#mesh/address-limiter.ts'
import type { Loop } from '#mesh/loop.ts'
import type { KeyStore } from '../keys/store.ts'
import type { SignatureStore } from '../signatures/store.ts'
import { type Exchange, type ExchangeParts, exchange } from './exchange.ts'
import { type Feed, feed } from './feed.ts'
import { issuer } from './issuer.ts'
import { Sealer } from './key-pair.ts'
import { KeyRing } from './key-ring.ts'
import type { SigningKeyStore } from './store.ts'

export interface TokensParts extends Omit<ExchangeParts, 'keys' | 'limiter' | 'issue'> {
  keys: Pick<KeyStore, 'findByHash' | 'revocationsAfter'>
  signingKeys: SigningKeyStore
  /** The secret that seals private halves. */
  signingSecret: { reveal(): string }
  /** How long a key signs, in milliseconds. */
  signingKeyLifeMs: number
  tokenMs: number
  signatures: Pick<SignatureStore, 'changedAfter'>
  signatureKeys: { readonly rootId: string }
  /** Maximum failed exchanges per address and minute. */
  exchangeLimit: number
}

export interface Tokens {
  readonly exchange: Exchange
  readonly feed: Feed
  /** Follows the signing keys; not started yet. */
  readonly loop: Loop
}

/** How often the signing keys are read: other replicas and operators create new ones. */
const intervalMs = 1000

/** Resolves once there is a key to sign with. Throws KeyDecryptionError if the secret does not open it. */
export async function tokens({ signingKeys, signingSecret, signingKeyLifeMs, ...parts }: TokensParts): Promise<Tokens> {
  const { tokenMs, exchangeLimit } = parts
  const ring = new KeyRing({ store: signingKeys, sealer: new Sealer(signingSecret.reveal()), lifetimeMs: signingKeyLifeMs })
  await ring.begin()
  const limiter = new AddressLimiter({ perMinute: exchangeLimit })
  return {
    exchange: exchange({ ...parts, limiter, issue: issuer({ ring, ttlMs: tokenMs }) }),
    feed: feed({ ...parts, ring, rootId: parts.signatureKeys.rootId }),
    loop: ring.loop(intervalMs, parts.log),
  }
}
