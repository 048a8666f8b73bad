/**
 * Fernet, version 0x80, by its spec (https://github.com/fernet/spec/blob/master/Spec.md):
 *
 *   base64url( 0x80 ‖ seconds since 1970, 64 bits ‖ IV, 128 bits ‖ AES-128-CBC with PKCS #7 ‖ HMAC-SHA256 of all before it )
 *
 * Nothing is decrypted before the HMAC is verified, so padding reveals nothing.
 */
import { type KeyObject, createCipheriv, createDecipheriv, createHmac, createSecretKey, randomBytes, timingSafeEqual } from 'node:crypto'

export const keyBytes = 32

const version = 0x80
const cipher = 'aes-128-cbc'
const blockBytes = 16
const macBytes = 32
/** Version, time, IV. */
const headBytes = 1 + 8 + blockBytes
/** How far a token's time may be in the future, if its age counts. */
const skewSec = 60

/** Why a token is rejected. */
export type FernetErrorCode = 'malformed' | 'version' | 'expired' | 'early' | 'forged' | 'padding'

/** The reason, without the token. */
export class FernetError extends Error {
  override readonly name = 'FernetError'
  readonly refusal: FernetErrorCode
  constructor(refusal: FernetErrorCode) {
    super(`a Fernet token is refused: ${refusal}`)
    this.refusal = refusal
  }
}

export class Fernet {
  readonly #signing: KeyObject
  readonly #encryption: KeyObject

  /** The 32 bytes of a key: half of them sign, half encrypt. Throws RangeError for any other number. */
  constructor(key: Uint8Array) {
    if (key.length !== keyBytes) throw new RangeError(`a Fernet key has ${keyBytes} bytes, not ${key.length}`)
    this.#signing = createSecretKey(key.subarray(0, keyBytes / 2))
    this.#encryption = createSecretKey(key.subarray(keyBytes / 2))
  }

  /** A token of this message, created at `nowSec` (whole seconds since 1970). An IV is never used twice; it is random if not given. */
  encrypt(message: Uint8Array, nowSec: number, iv: Uint8Array = randomBytes(blockBytes)): string {
    const head = Buffer.alloc(headBytes)
    head[0] = version
    head.writeBigUInt64BE(BigInt(nowSec), 1)
    head.set(iv, headBytes - blockBytes)
    const encrypting = createCipheriv(cipher, this.#encryption, iv)
    const signed = Buffer.concat([head, encrypting.update(message), encrypting.final()])
    return encode(Buffer.concat([signed, this.#mac(signed)]))
  }

  /**
   * The message of a token. With `age`, only if it was created within `ttlSec` seconds before `nowSec`, or by a clock that is at most a
   * minute ahead; otherwise its age is ignored. Throws FernetError.
   */
  decrypt(token: string, age?: { readonly nowSec: number; readonly ttlSec: number }): Buffer {
    const bytes = decode(token)
    if (bytes === undefined || bytes.length === 0) throw new FernetError('malformed')
    if (bytes[0] !== version) throw new FernetError('version')
    const encryptedBytes = bytes.length - headBytes - macBytes
    if (encryptedBytes < blockBytes || encryptedBytes % blockBytes !== 0) throw new FernetError('malformed')
    if (age !== undefined) {
      // Exact up to 2⁵³; anything beyond is too early however it is rounded.
      const madeSec = Number(bytes.readBigUInt64BE(1))
      if (madeSec + age.ttlSec < age.nowSec) throw new FernetError('expired')
      if (madeSec > age.nowSec + skewSec) throw new FernetError('early')
    }
    const signed = bytes.subarray(0, -macBytes)
    if (!timingSafeEqual(this.#mac(signed), bytes.subarray(-macBytes))) throw new FernetError('forged')
    const decrypting = createDecipheriv(cipher, this.#encryption, signed.subarray(headBytes - blockBytes, headBytes))
    try {
      return Buffer.concat([decrypting.update(signed.subarray(headBytes)), decrypting.final()])
    } catch {
      throw new FernetError('padding')
    }
  }

  #mac(signed: Uint8Array): Buffer {
    return createHmac('sha256', this.#signing).update(signed).digest()
  }
}

/** base64url with its padding (RFC 4648, section 5). */
function encode(bytes: Buffer): string {
  const text = bytes.toString('base64url')
  return text.padEnd(Math.ceil(text.length / 4) * 4, '=')
}

/**
 * The bytes of base64url in its canonical form: with its padding, no other characters, and no leftover bits (RFC 4648, sections 3.3 and
 * 3.5), so that no two texts are the same bytes. Undefined for anything else.
 */
export function decode(text: string): Buffer | undefined {
  // The decoder ignores unknown characters, so its result is encoded again and compared.
  const bytes = Buffer.from(text, 'base64url')
  return encode(bytes) === text ? bytes : undefined
}
