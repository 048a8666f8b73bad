/**
 * How services of the mesh prove their names to each other without certificates. Each signs short-lived tokens with its own key (Ed25519
 * JWT), one per called service, so that no receiver can reuse it elsewhere. The others know its public keys.
 */
import type { KeyObject } from 'node:crypto'
import { SignJWT, errors } from 'jose'
import type { PeerToken } from '../grpc/caller.ts'
import { publicKeyOf, xOf } from './ed25519.ts'
import { LruCache } from '../lru-cache.ts'
import { type TokenKind, claimsOf, endOf, maxLifetimeS } from './token-rules.ts'

const typ = 'relay-peer+jwt'
const audienceOf = (service: string) => `relay-mesh/${service}`
/** With less time left a token is signed again, in milliseconds. */
const renewMs = 60_000
/** Each replica of each service has one every few minutes. */
const maxCached = 1000

/** The public keys of every service by name; several during a key exchange. */
export type PeerKeys = ReadonlyMap<string, readonly string[]>

/** Our own service's proof for the others. `now` in epoch milliseconds. */
export function peerTokenOf(name: string, privateKey: KeyObject, now: () => number = Date.now): PeerToken {
  const kid = xOf(privateKey)
  const current = new Map<string, { token: string | Promise<string>; renewAtMs: number }>()

  const sign = (service: string, atS: number): Promise<string> =>
    new SignJWT()
      .setProtectedHeader({ alg: 'EdDSA', kid, typ })
      .setIssuer(name)
      .setSubject(name)
      .setAudience(audienceOf(service))
      .setIssuedAt(atS)
      .setExpirationTime(atS + maxLifetimeS)
      .sign(privateKey)

  return (service) => {
    const held = current.get(service)
    if (held !== undefined && now() < held.renewAtMs) return held.token
    const atS = Math.floor(now() / 1000)
    const token = sign(service, atS)
    const fresh: { token: string | Promise<string>; renewAtMs: number } = { token, renewAtMs: (atS + maxLifetimeS) * 1000 - renewMs }
    // Callers meanwhile wait for the same token.
    current.set(service, fresh)
    return token.then(
      (signed) => (fresh.token = signed),
      (error: unknown) => {
        if (current.get(service) === fresh) current.delete(service)
        throw error
      },
    )
  }
}

/** Verifies the proofs that services of the mesh send to `audience`, our own service. */
export class PeerTokens {
  readonly #kind: TokenKind
  readonly #now: () => number
  readonly #keys = new Map<string, { name: string; key: KeyObject }>()
  readonly #cache = new LruCache<{ name: string; endMs: number }>(maxCached)

  /** Throws for an invalid key, or a key of two services. */
  constructor({ audience, peers, now = Date.now }: { audience: string; peers: PeerKeys; now?: () => number }) {
    this.#kind = { typ, audience: audienceOf(audience) }
    this.#now = now
    for (const [name, keys] of peers) {
      for (const x of keys) {
        const other = this.#keys.get(x)?.name ?? name
        if (other !== name) throw new Error(`gives ${other} and ${name} the same key: one could pose as the other`)
        this.#keys.set(x, { name, key: publicKeyOf(x) })
      }
    }
  }

  /** The service that this token proves; undefined if it proves none to us. */
  peer(token: string): string | undefined | Promise<string | undefined> {
    const proven = this.#cache.get(token)
    if (proven === undefined) return this.#verify(token)
    if (this.#now() < proven.endMs) return proven.name
    this.#cache.delete(token)
    return undefined
  }

  async #verify(token: string): Promise<string | undefined> {
    let signer: string | undefined
    const claims = await claimsOf(
      token,
      this.#kind,
      // The kid is the public key itself, which says whose it is.
      ({ kid = '' }) => {
        const known = this.#keys.get(kid)
        if (known === undefined) throw new errors.JWKSNoMatchingKey()
        signer = known.name
        return known.key
      },
      this.#now(),
    )
    if (claims === undefined || signer === undefined || claims.iss !== signer || claims.sub !== signer) return undefined
    this.#cache.set(token, { name: signer, endMs: endOf(claims) })
    return signer
  }
}
