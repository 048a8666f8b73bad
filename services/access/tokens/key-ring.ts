/**
 * The signing keys as this replica knows them: read repeatedly, replaced when due, opened to sign. It never signs with a state older than
 * the waiting time of a new key: by then another replica's key may sign, and its own may no longer be valid.
 */
import type { KeyObject } from 'node:crypto'
import { meshErrors } from '#mesh/errors.ts'
import { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { Sealer } from './key-pair.ts'
import { isDue, leadMs, publishedOf, signerOf, futureSigners, signsFromOf } from './signing-keys.ts'
import type { SigningKeySnapshot, SigningKey, SigningKeyStore } from './store.ts'

export interface KeyRingParts {
  store: SigningKeyStore
  sealer: Sealer
  /** How long a key signs before its successor does, in milliseconds. */
  lifetimeMs: number
  /** A monotonic clock, in milliseconds. */
  now?: () => number
}

/** The key that signs, opened. */
export interface Signer {
  readonly kid: string
  readonly privateKey: KeyObject
}

/** The public half of a key, as verifiers need it. */
export interface PublicKey {
  readonly kid: string
  readonly x: string
}

/** Half of what is allowed, so that even a slow read is in time. */
const freshMs = leadMs / 2

interface Read extends SigningKeySnapshot {
  /** The start of the read by this process's clock: the result was true then or later. */
  readonly at: number
}

export class KeyRing {
  readonly #parts: KeyRingParts
  readonly #now: () => number
  readonly #opened = new Map<string, KeyObject>()
  #last: Read | undefined
  #reading: Promise<Read> | undefined

  constructor(parts: KeyRingParts) {
    this.#parts = parts
    this.#now = parts.now ?? (() => performance.now())
  }

  /** Await this before anything is signed. Throws KeyDecryptionError if a key that signs, now or later, cannot be opened. */
  async begin(): Promise<void> {
    const { keys, now } = await this.#current()
    for (const key of futureSigners(keys, now)) this.#open(key)
    await this.#keepUp()
  }

  /** Follows the other replicas, and creates the next key when due. Not started yet. */
  loop(intervalMs: number, log: Logger): Loop {
    const work = async (): Promise<boolean> => {
      await this.#keepUp()
      return false
    }
    return new Loop({ name: 'signing keys', intervalMs, log, work })
  }

  /** Creates a successor now, however long the newest has signed. The clock of the database decides when it signs. */
  async rotate(): Promise<{ kid: string; signsFrom: Date }> {
    const made = await this.#turn(true)
    return { kid: made!.kid, signsFrom: new Date(made!.signsFrom) }
  }

  /** Throws DEPENDENCY_UNAVAILABLE if this replica cannot sign; another one may be able to. */
  async signer(): Promise<Signer> {
    const { keys, now } = await this.#current()
    const key = signerOf(keys, now)
    if (key === undefined) throw meshErrors.DEPENDENCY_UNAVAILABLE({ cause: new Error('no signing key exists yet') })
    try {
      return { kid: key.kid, privateKey: this.#open(key) }
    } catch (cause) {
      throw meshErrors.DEPENDENCY_UNAVAILABLE({ cause })
    }
  }

  /** All keys that may have signed a valid token. */
  async published(): Promise<PublicKey[]> {
    const { keys, now } = await this.#current()
    return publishedOf(keys, now).map(({ kid, x }) => ({ kid, x }))
  }

  async #keepUp(): Promise<void> {
    const { keys, now } = await this.#read()
    if (isDue(keys, now, this.#parts.lifetimeMs) || publishedOf(keys, now).length < keys.length) await this.#turn(false)
  }

  /** The known state, adjusted to now; it is read first if it is too old. */
  async #current(): Promise<SigningKeySnapshot> {
    const last = this.#last !== undefined && this.#now() - this.#last.at < freshMs ? this.#last : await this.#read()
    const ageMs = this.#now() - last.at
    if (ageMs >= leadMs) throw meshErrors.DEPENDENCY_UNAVAILABLE()
    return { keys: last.keys, now: last.now + ageMs }
  }

  /** Concurrent callers share one read. */
  #read(): Promise<Read> {
    this.#reading ??= this.#remember(() => this.#parts.store.read()).finally(() => (this.#reading = undefined))
    return this.#reading
  }

  async #remember(ask: () => Promise<SigningKeySnapshot>): Promise<Read> {
    const at = this.#now()
    const read = { ...(await ask()), at }
    // Of two concurrent reads the one that began later knows more.
    if (this.#last === undefined || at >= this.#last.at) this.#last = read
    for (const kid of this.#opened.keys()) if (!read.keys.some((key) => key.kid === kid)) this.#opened.delete(kid)
    return read
  }

  /** Removes expired keys, and adds a successor if one is due or requested. */
  async #turn(asked: boolean): Promise<SigningKey | undefined> {
    const pair = await this.#parts.sealer.newPair()
    let add: SigningKey | undefined
    await this.#remember(() =>
      this.#parts.store.change(({ keys, now }) => {
        // Decides under the lock on the current keys: another replica may have been first.
        add = asked || isDue(keys, now, this.#parts.lifetimeMs) ? { ...pair, signsFrom: signsFromOf(keys, now) } : undefined
        const published = publishedOf(keys, now)
        return { add, remove: keys.filter((key) => !published.includes(key)).map(({ kid }) => kid) }
      }),
    )
    return add
  }

  #open(key: SigningKey): KeyObject {
    const opened = this.#opened.get(key.kid) ?? this.#parts.sealer.open(key)
    this.#opened.set(key.kid, opened)
    return opened
  }
}
