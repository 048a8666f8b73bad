/** Ed25519 keys (RFC 8032) as written in configuration and in the feed: base64url without padding, 32 bytes. */
import { type KeyObject, createPrivateKey, createPublicKey } from 'node:crypto'

/** The bytes before the 32 bytes of a private key in PKCS #8 (RFC 8410, section 7). */
const pkcs8Head = Buffer.from('302e020100300506032b657004220420', 'hex')
const form = /^[A-Za-z0-9_-]{43}$/

/** The private key of a seed. Throws if it is invalid, without repeating it. */
export function privateKeyOf(seed: string): KeyObject {
  if (!form.test(seed)) throw new Error('is not 32 bytes as base64url without padding')
  return createPrivateKey({ key: Buffer.concat([pkcs8Head, Buffer.from(seed, 'base64url')]), format: 'der', type: 'pkcs8' })
}

/** The public key that RFC 8037 writes as `x`. Throws if it is invalid. */
export function publicKeyOf(x: string): KeyObject {
  if (!form.test(x)) throw new Error('has a key that is not 32 bytes as base64url without padding')
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
}

/** The `x` of a private or public key. */
export function xOf(key: KeyObject): string {
  const { x } = (key.type === 'private' ? createPublicKey(key) : key).export({ format: 'jwk' })
  return x as string
}
