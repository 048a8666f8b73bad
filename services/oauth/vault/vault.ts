/**
 * Encrypts tokens so that each can be decrypted only where it belongs: its workspace, its connection and its kind are inside the
 * ciphertext, and are compared. A ciphertext that was copied into another row cannot be decrypted there.
 */
import { isUtf8 } from 'node:buffer'
import { KeyRing, kidOf } from './keyring.ts'

/** The context of an encrypted value. */
export interface Binding {
  readonly workspace: string
  readonly connectionId: string
  readonly kind: 'access' | 'refresh' | 'verifier'
}

/**
 * `unreadable`: no configured key decrypts it, or it was changed. `context_mismatch`: it was encrypted for another place, so someone wrote
 * it here. Says nothing about the value.
 */
export class VaultError extends Error {
  override readonly name = 'VaultError'
  readonly reason: 'unreadable' | 'context_mismatch'
  constructor(reason: 'unreadable' | 'context_mismatch') {
    super(reason === 'context_mismatch' ? 'a sealed value belongs to another place' : 'a sealed value cannot be opened with these keys')
    this.reason = reason
  }
}

/** In UTF-16 units; a provider's token is far shorter. */
const maxTextLength = 65_536
/** Every unit can become `\uXXXX`, every three bytes four characters; and the rest around it. */
const maxSealedLength = maxTextLength * 8 + 4096

export class Vault {
  readonly #ring: KeyRing
  readonly #now: () => number

  /** The keys of OAUTH_ENCRYPTION_KEY; `now` in milliseconds since 1970. Throws KeyListError. */
  constructor(keys: readonly string[], now: () => number = Date.now) {
    this.#ring = new KeyRing(keys)
    this.#now = now
  }

  /** Of the key that encrypts. */
  get firstKid(): string {
    return this.#ring.firstKid
  }

  /** The key that encrypted this; undefined for a bare token. */
  kidOf(sealed: string): string | undefined {
    return kidOf(sealed)
  }

  /** As `v1.<kid>.<fernet>`. Throws RangeError for text that is longer than any token. */
  seal({ workspace, connectionId, kind }: Binding, text: string): string {
    if (text.length > maxTextLength) throw new RangeError(`text of ${text.length} units is too long to be sealed`)
    const envelope: Envelope = { w: workspace, c: connectionId, k: kind, t: text }
    return this.#ring.seal(Buffer.from(JSON.stringify(envelope)), Math.floor(this.#now() / 1000))
  }

  /**
   * The text. With `legacy`, which is only for rows of the service before this one, also of a bare Fernet token, which has no context.
   * Throws VaultError.
   */
  open(binding: Binding, sealed: string, { legacy = false }: { readonly legacy?: boolean } = {}): string {
    const bare = kidOf(sealed) === undefined
    if (sealed.length > maxSealedLength || (bare && !legacy)) throw new VaultError('unreadable')
    const plain = this.#plain(sealed, bare)
    const envelope = parseEnvelope(plain)
    if (envelope === undefined) {
      if (bare) return plain
      throw new VaultError('unreadable')
    }
    const { w, c, k, t } = envelope
    // A bare token has no context: this one was taken out of another row, and its prefix removed.
    if (bare || w !== binding.workspace || c !== binding.connectionId || k !== binding.kind) throw new VaultError('context_mismatch')
    return t
  }

  /**
   * The same text, encrypted by the first key; undefined if it is already. Throws VaultError: what cannot be decrypted is not re-encrypted.
   */
  reseal(binding: Binding, sealed: string, options: { readonly legacy?: boolean } = {}): string | undefined {
    if (kidOf(sealed) === this.firstKid) return undefined
    return this.seal(binding, this.open(binding, sealed, options))
  }

  #plain(sealed: string, bare: boolean): string {
    let plain: Buffer
    try {
      plain = bare ? this.#ring.openBare(sealed) : this.#ring.open(sealed)
    } catch {
      throw new VaultError('unreadable')
    }
    if (!isUtf8(plain)) throw new VaultError('unreadable')
    return plain.toString()
  }
}

/** The plaintext: workspace, connection, kind, text. */
interface Envelope {
  w: string
  c: string
  k: string
  t: string
}

function parseEnvelope(plain: string): Envelope | undefined {
  // A provider's token never begins like this, and most that are read are not bare.
  if (!plain.startsWith('{')) return undefined
  try {
    const { w, c, k, t } = JSON.parse(plain) as Record<string, unknown>
    const strings = [w, c, k, t].every((each) => typeof each === 'string')
    return strings ? ({ w, c, k, t } as Envelope) : undefined
  } catch {
    return undefined
  }
}
