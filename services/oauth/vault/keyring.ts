/**
 * The keys of OAUTH_ENCRYPTION_KEY: the first encrypts, all of them decrypt. The ciphertext names its key, as `v1.<kid>.<fernet>`. A bare
 * Fernet token, written by the service before this one, names none, and every key is tried.
 */
import { createHash } from 'node:crypto'
import { Fernet, FernetError, decode, keyBytes } from './fernet.ts'

/** A clause after the name of the variable. Names a key by its position in the list, without its content. */
export class KeyListError extends Error {
  override readonly name = 'KeyListError'
}

/** Maximum keys in the list: a bare token is tried with each. */
const maxKeys = 16

const form = /^v1\.([0-9a-f]{8})\.([^.]+)$/

/** Parses a list of keys, separated by commas. Throws KeyListError. */
export function parseKeys(text: string): readonly string[] {
  const keys = text.split(',').map((key) => key.trim())
  if (keys.length > maxKeys) throw new KeyListError(`has ${keys.length} keys, more than ${maxKeys}`)
  for (const [index, key] of keys.entries()) {
    const problem = problemOf(key) ?? repetition(keys, index)
    if (problem === undefined) continue
    throw new KeyListError(keys.length === 1 ? problem : `has ${keys.length} keys, of which number ${index + 1} ${problem}`)
  }
  return keys
}

/** The key that encrypted this; undefined for a bare token, and for anything else. */
export const kidOf = (sealed: string): string | undefined => form.exec(sealed)?.[1]

/** The first 8 hexadecimal digits of the SHA-256 of a key as written in the list. */
const kidOfKey = (key: string): string => createHash('sha256').update(key).digest('hex').slice(0, 8)

export class KeyRing {
  /** Of the key that encrypts. */
  readonly firstKid: string
  readonly #first: Fernet
  readonly #keys: ReadonlyMap<string, Fernet>

  /** Throws KeyListError. */
  constructor(keys: readonly string[]) {
    const entries = parseKeys(keys.join(',')).map((key) => [kidOfKey(key), new Fernet(decode(key)!)] as const)
    ;[this.firstKid, this.#first] = entries[0]!
    this.#keys = new Map(entries)
  }

  /** `v1.<kid>.<fernet>`, by the first key. `nowSec`: seconds since 1970. */
  seal(message: Uint8Array, nowSec: number): string {
    return `v1.${this.firstKid}.${this.#first.encrypt(message, nowSec)}`
  }

  /** Decrypts what `seal` encrypted with any of the keys. Throws FernetError: `malformed` also if the key is not in the list. */
  open(sealed: string): Buffer {
    const [, kid = '', token = ''] = form.exec(sealed) ?? []
    const key = this.#keys.get(kid)
    if (key === undefined) throw new FernetError('malformed')
    return key.decrypt(token)
  }

  /** Decrypts a bare token of any of the keys. Throws FernetError. */
  openBare(token: string): Buffer {
    let last: unknown
    for (const key of this.#keys.values()) {
      try {
        return key.decrypt(token)
      } catch (error) {
        last = error
      }
    }
    throw last
  }
}

/** The key of the spec's own examples. */
const published = 'cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4='

function problemOf(key: string): string | undefined {
  if (key === '') return 'is empty'
  const bytes = decode(key)
  if (bytes === undefined && /^[\w+/=-]+$/.test(key) && /[+/]/.test(key)) return 'is base64, not base64url: write - for + and _ for /'
  if (bytes?.length !== keyBytes) return 'is not a Fernet key, which is 32 bytes in base64url: 44 characters, the last of them ='
  if (key === published) return 'is a published example'
  if (isGuessable(bytes)) return 'is not random'
  return undefined
}

/** Text, repeating bytes, or bytes that count: a random key is like that less than once in 10¹³. */
function isGuessable(bytes: Buffer): boolean {
  const step = (index: number) => (bytes[index]! - bytes[index - 1]! + 256) % 256
  const distinct = new Set(bytes).size
  const isText = bytes.every((byte) => byte >= 0x20 && byte < 0x7f)
  const counts = bytes.every((_, index) => index < 2 || step(index) === step(1))
  return distinct <= keyBytes / 2 || isText || counts
}

function repetition(keys: readonly string[], index: number): string | undefined {
  const earlier = keys.findIndex((key) => kidOfKey(key) === kidOfKey(keys[index]!))
  if (earlier === index) return undefined
  if (keys[earlier] === keys[index]) return `is number ${earlier + 1} again`
  return `has the same id as number ${earlier + 1}, by chance: make another`
}
