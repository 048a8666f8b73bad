/**
 * Ed25519 key pairs as they are stored: the public half in clear, the private half sealed by AES-256-GCM under a key that is derived from a
 * configured secret (HKDF-SHA256, RFC 5869), so that the database alone cannot sign.
 */
import { type KeyObject, createCipheriv, createDecipheriv, createPrivateKey, generateKeyPairSync, hkdfSync, randomBytes } from 'node:crypto'
import { calculateJwkThumbprint } from 'jose'

/** A pair that can be stored. */
export interface SealedPair {
  /** The thumbprint of the public half (RFC 7638). */
  readonly kid: string
  /** The public half (RFC 8037), base64url. */
  readonly x: string
  /** Version, nonce, the encrypted seed, tag. */
  readonly sealed: Buffer
}

/** A private half that was sealed with another secret, or changed since. */
export class KeyDecryptionError extends Error {
  override readonly name = 'KeyDecryptionError'
  constructor(kid: string) {
    super(`the signing key ${kid} cannot be decrypted with this secret`)
  }
}

const version = 1
const nonceBytes = 12
const tagBytes = 16
const cipher = 'aes-256-gcm'

export class Sealer {
  readonly #key: Buffer

  constructor(secret: string) {
    this.#key = Buffer.from(hkdfSync('sha256', secret, '', 'relay access signing keys', 32))
  }

  async newPair(): Promise<SealedPair> {
    const { privateKey } = generateKeyPairSync('ed25519')
    const { x, d } = privateKey.export({ format: 'jwk' }) as { x: string; d: string }
    const kid = await calculateJwkThumbprint({ kty: 'OKP', crv: 'Ed25519', x })
    const nonce = randomBytes(nonceBytes)
    const sealing = createCipheriv(cipher, this.#key, nonce).setAAD(boundTo({ kid, x }))
    const encrypted = [sealing.update(Buffer.from(d, 'base64url')), sealing.final()]
    return { kid, x, sealed: Buffer.concat([Buffer.of(version), nonce, ...encrypted, sealing.getAuthTag()]) }
  }

  /** The private half. Throws KeyDecryptionError. */
  open({ kid, x, sealed }: SealedPair): KeyObject {
    try {
      if (sealed[0] !== version) throw new Error('another version')
      const nonce = sealed.subarray(1, 1 + nonceBytes)
      const opening = createDecipheriv(cipher, this.#key, nonce, { authTagLength: tagBytes }).setAAD(boundTo({ kid, x }))
      opening.setAuthTag(sealed.subarray(-tagBytes))
      const seed = Buffer.concat([opening.update(sealed.subarray(1 + nonceBytes, -tagBytes)), opening.final()])
      return createPrivateKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x, d: seed.toString('base64url') } })
    } catch {
      throw new KeyDecryptionError(kid)
    }
  }
}

/** Binds a private half to its public half. */
const boundTo = ({ kid, x }: { kid: string; x: string }): Buffer => Buffer.from(JSON.stringify([kid, x]))
