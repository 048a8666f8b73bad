/**
 * The signing keys as this replica knows them: read again and again, replaced when it is time, opened when they sign. It never signs on
 * what it read longer ago than a new key waits: then another replica's key may sign already, and its own be believed no longer.
 */
import type { KeyObject } from 'node:crypto'
import { meshErrors } from '#mesh/errors.ts'
import { Loop } from '#mesh/loop.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { Sealer } from './key-pair.ts'
import { isDue, leadMs, publishedOf, signerOf, signersToCome, signsFromOf } from './signing-keys.ts'
import type { KeysThen, SigningKey, SigningKeyStore } from './store.ts'

export interface KeyRingParts {
  store: SigningKeyStore
  sealer: Sealer
  /** How long a key signs before its successor does, in milliseconds. */
  lifetimeMs: number
  /** A clock that never goes back, in milliseconds. */
  now?: () => number
}

/** What is signed with. */
export interface Signer {
  readonly kid: string
  readonly privateKey: KeyObject
}

/** The public half of a key, as verifiers need it. */
export interface PublicKey {
  readonly kid: string
  readonly x: string
}

/** Half of what is allowed, so that a read which takes its time is still in time. */
const freshMs = leadMs / 2

interface Read extends KeysThen {
  /** By this process's clock, when the read began: what it says was true then or later. */
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

  /** To be waited for before anything is signed. Throws SealBroken where what is or will be signed with cannot be opened. */
  async begin(): Promise<void> {
    const { keys, now } = await this.#current()
    for (const key of signersToCome(keys, now)) this.#open(key)
    await this.#keepUp()
  }

  /** Keeps up with the other replicas, and makes the next key when it is time. Not started yet. */
  loop(intervalMs: number, log: Logger): Loop {
    const work = async (): Promise<boolean> => {
      await this.#keepUp()
      return false
    }
    return new Loop({ name: 'signing keys', intervalMs, log, work })
  }

  /** Makes a successor now, however long the newest has signed. When it signs is by the clock of the database. */
  async rotate(): Promise<{ kid: string; signsFrom: Date }> {
    const made = await this.#turn(true)
    return { kid: made!.kid, signsFrom: new Date(made!.signsFrom) }
  }

  /** Throws DEPENDENCY_UNAVAILABLE where another replica may be able to sign and this one is not. */
  async signer(): Promise<Signer> {
    const { keys, now } = await this.#current()
    const key = signerOf(keys, now)
    if (key === undefined) throw meshErrors.DEPENDENCY_UNAVAILABLE({ cause: new Error('there is no signing key yet') })
    try {
      return { kid: key.kid, privateKey: this.#open(key) }
    } catch (cause) {
      throw meshErrors.DEPENDENCY_UNAVAILABLE({ cause })
    }
  }

  /** All that a living token may be signed with. */
  async published(): Promise<PublicKey[]> {
    const { keys, now } = await this.#current()
    return publishedOf(keys, now).map(({ kid, x }) => ({ kid, x }))
  }

  async #keepUp(): Promise<void> {
    const { keys, now } = await this.#read()
    if (isDue(keys, now, this.#parts.lifetimeMs) || publishedOf(keys, now).length < keys.length) await this.#turn(false)
  }

  /** What is known and not too old, as of now; at once unless it must be read. */
  async #current(): Promise<KeysThen> {
    const last = this.#last !== undefined && this.#now() - this.#last.at < freshMs ? this.#last : await this.#read()
    const ageMs = this.#now() - last.at
    if (ageMs >= leadMs) throw meshErrors.DEPENDENCY_UNAVAILABLE()
    return { keys: last.keys, now: last.now + ageMs }
  }

  /** One read for all who wait for one. */
  #read(): Promise<Read> {
    this.#reading ??= this.#remember(() => this.#parts.store.read()).finally(() => (this.#reading = undefined))
    return this.#reading
  }

  async #remember(ask: () => Promise<KeysThen>): Promise<Read> {
    const at = this.#now()
    const read = { ...(await ask()), at }
    // Of two that were under way the one that began later knows more.
    if (this.#last === undefined || at >= this.#last.at) this.#last = read
    for (const kid of this.#opened.keys()) if (!read.keys.some((key) => key.kid === kid)) this.#opened.delete(kid)
    return read
  }

  /** Lets go of what is gone, and adds a successor where one is due, or asked for. */
  async #turn(asked: boolean): Promise<SigningKey | undefined> {
    const pair = await this.#parts.sealer.newPair()
    let add: SigningKey | undefined
    await this.#remember(() =>
      this.#parts.store.change(({ keys, now }) => {
        // Decided on what is there under the lock: another replica may have been first.
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
