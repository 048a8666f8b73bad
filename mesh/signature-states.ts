/**
 * Which signature keys count now, per workspace and purpose: what access said last. While access is away nothing changes; before it was
 * ever heard nothing is known, and nothing is signed or verified.
 */
import type { KeyObject } from 'node:crypto'
import { meshErrors } from './errors.ts'
import { type Purpose, type SignatureKeys, legacyGeneration } from './signature-keys.ts'
import type { Logger } from './telemetry/log.ts'

export interface KeyState {
  readonly generation: number
  /** During an overlap: counts too. */
  readonly previous: number | undefined
}

/** Of a workspace that access has no record of. */
export const initialState: KeyState = { generation: 1, previous: undefined }
/** Of every workspace where access is of a release that keeps no records. */
const beforeRecords: KeyState = { generation: 1, previous: legacyGeneration }

/** What changed, in the words of relay.access.v1.SignatureKeys. */
export interface SignatureStatesUpdate {
  readonly states: readonly { workspace: string; purpose: string; generation: number; previousGeneration?: number | undefined }[]
  readonly sequence: number
  readonly more: boolean
  readonly rootId: string
}

export class SignatureStates {
  readonly #states = new Map<string, KeyState>()
  readonly #known = Promise.withResolvers<void>()
  #recorded: 'nothing heard' | 'no records' | 'records' = 'nothing heard'
  #sequence = 0
  #rootId = ''

  /** What to ask for next. */
  get sequence(): number {
    return this.#sequence
  }

  /** Of access; empty where it has none, or says nothing. */
  get rootId(): string {
    return this.#rootId
  }

  /** Undefined: access is of a release that says nothing. True where there is more to be read at once. */
  update(news: SignatureStatesUpdate | undefined): boolean {
    if (news === undefined) {
      if (this.#recorded === 'nothing heard') this.#learn('no records')
      return false
    }
    for (const { workspace, purpose, generation, previousGeneration: previous } of news.states) {
      this.#states.set(nameOf(purpose as Purpose, workspace), { generation, previous })
    }
    // Access that counts from an earlier number was put back to an earlier state: everything is read again.
    const startedOver = news.sequence < this.#sequence
    this.#sequence = startedOver ? 0 : news.sequence
    this.#rootId = news.rootId
    const more = news.more || startedOver
    if (!more) this.#learn('records')
    return more
  }

  /** Undefined until access was heard. */
  of(purpose: Purpose, workspace: string): KeyState | undefined {
    if (this.#recorded === 'nothing heard') return undefined
    if (this.#recorded === 'no records') return beforeRecords
    return this.#states.get(nameOf(purpose, workspace)) ?? initialState
  }

  /** How many workspaces have an overlap, as far as access was heard. */
  overlaps(purpose: Purpose): number {
    let count = 0
    for (const [name, { previous }] of this.#states) if (previous !== undefined && name.startsWith(`${purpose} `)) count += 1
    return count
  }

  /** Resolves once access was heard; rejects when the signal is aborted before. */
  whenKnown(signal: AbortSignal): Promise<void> {
    const gone = Promise.withResolvers<void>()
    const abort = () => gone.reject(new Error('access has not said yet which signature keys count'))
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    return Promise.race([this.#known.promise, gone.promise]).finally(() => signal.removeEventListener('abort', abort))
  }

  #learn(what: 'no records' | 'records'): void {
    this.#recorded = what
    this.#known.resolve()
  }
}

const nameOf = (purpose: Purpose, workspace: string): string => `${purpose} ${workspace}`

/** The keys that count now. */
export interface ActiveSignatureKeys {
  readonly newest: KeyObject
  /** During an overlap, the older one. */
  readonly previous: KeyObject | undefined
}

export interface SignatureKeyringParts {
  keys: SignatureKeys
  states: SignatureStates
  log: Logger
}

/** What signs and verifies in this process. */
export class SignatureKeyring {
  readonly #parts: SignatureKeyringParts
  #differs = ''

  constructor(parts: SignatureKeyringParts) {
    this.#parts = parts
    if (parts.keys.rootId === '') {
      parts.log.warn(
        'SIGNATURE_ROOT_SECRET is not set: whoever has the signature key of workspace default can make those of all workspaces',
      )
    }
  }

  /** Throws DEPENDENCY_UNAVAILABLE where access was not heard yet, or where the secret that a key is made of is not configured here. */
  of(purpose: Purpose, workspace: string): ActiveSignatureKeys {
    const { keys, states } = this.#parts
    const state = states.of(purpose, workspace)
    if (state === undefined)
      throw meshErrors.DEPENDENCY_UNAVAILABLE({ cause: new Error('access has not said yet which signature keys count') })
    this.#compareRoots()
    const older = state.previous === undefined ? undefined : keys.key(purpose, workspace, state.previous)
    const newest = keys.key(purpose, workspace, state.generation)
    if (newest !== undefined) return { newest, previous: older }
    // Without a root, what there is is the key from before; unless it has been replaced, which took a root.
    const replaced = state.generation > 1 || (state.previous === undefined && state !== initialState)
    const legacy = replaced ? undefined : keys.key(purpose, workspace, legacyGeneration)
    if (legacy === undefined) throw meshErrors.DEPENDENCY_UNAVAILABLE({ cause: new Error('SIGNATURE_ROOT_SECRET is not set') })
    return { newest: legacy, previous: undefined }
  }

  /** The same once access was heard; rejects when the signal is aborted before. */
  async soon(purpose: Purpose, workspace: string, signal: AbortSignal): Promise<ActiveSignatureKeys> {
    await this.#parts.states.whenKnown(signal)
    return this.of(purpose, workspace)
  }

  #compareRoots(): void {
    const { keys, states, log } = this.#parts
    if (states.rootId === keys.rootId || states.rootId === this.#differs) return
    this.#differs = states.rootId
    if (states.rootId !== '' || keys.rootId !== '')
      log.error('SIGNATURE_ROOT_SECRET differs from that of access: the keys that admins are shown are not those in use')
  }
}
