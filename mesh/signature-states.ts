/**
 * The valid signature keys per workspace and purpose, as access last said. While access is unavailable nothing changes. Before its first
 * response nothing is known, and nothing is signed or verified.
 */
import type { KeyObject } from 'node:crypto'
import { meshErrors } from './errors.ts'
import { type Purpose, type SignatureKeys, legacyGeneration } from './signature-keys.ts'
import type { Logger } from './telemetry/log.ts'

export interface KeyState {
  readonly generation: number
  /** During an overlap: valid too. */
  readonly previous: number | undefined
}

/** Of a workspace that access has no record of. */
export const initialState: KeyState = { generation: 1, previous: undefined }
/** Of every workspace, if access is of a release without records. */
const beforeRecords: KeyState = { generation: 1, previous: legacyGeneration }

/** An update, with the fields of relay.access.v1.SignatureKeys. */
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

  /** The sequence to continue from. */
  get sequence(): number {
    return this.#sequence
  }

  /** The root id of access; empty if it has none, or does not report it. */
  get rootId(): string {
    return this.#rootId
  }

  /** Undefined: access is of a release that reports nothing. True if there is more to read at once. */
  update(news: SignatureStatesUpdate | undefined): boolean {
    if (news === undefined) {
      if (this.#recorded === 'nothing heard') this.#learn('no records')
      return false
    }
    for (const { workspace, purpose, generation, previousGeneration: previous } of news.states) {
      this.#states.set(nameOf(purpose as Purpose, workspace), { generation, previous })
    }
    // An access service that counts from a lower number was restored to an earlier state: everything is read again.
    const startedOver = news.sequence < this.#sequence
    this.#sequence = startedOver ? 0 : news.sequence
    this.#rootId = news.rootId
    const more = news.more || startedOver
    if (!more) this.#learn('records')
    return more
  }

  /** Undefined until the first response of access. */
  of(purpose: Purpose, workspace: string): KeyState | undefined {
    if (this.#recorded === 'nothing heard') return undefined
    if (this.#recorded === 'no records') return beforeRecords
    return this.#states.get(nameOf(purpose, workspace)) ?? initialState
  }

  /** How many workspaces have an overlap, as far as known. */
  overlaps(purpose: Purpose): number {
    let count = 0
    for (const [name, { previous }] of this.#states) if (previous !== undefined && name.startsWith(`${purpose} `)) count += 1
    return count
  }

  /** Resolves after the first response of access; rejects when the signal aborts before. */
  whenKnown(signal: AbortSignal): Promise<void> {
    const gone = Promise.withResolvers<void>()
    const abort = () => gone.reject(new Error('access has not reported the valid signature keys yet'))
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

/** The valid keys. */
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

/** Signs and verifies in this process. */
export class SignatureKeyring {
  readonly #parts: SignatureKeyringParts
  #differs = ''

  constructor(parts: SignatureKeyringParts) {
    this.#parts = parts
    if (parts.keys.rootId === '') {
      parts.log.warn(
        'SIGNATURE_ROOT_SECRET is not set: anyone with the signature key of workspace default can derive those of all workspaces',
      )
    }
  }

  /** Throws DEPENDENCY_UNAVAILABLE before the first response of access, or if the secret that a key derives from is not configured here. */
  of(purpose: Purpose, workspace: string): ActiveSignatureKeys {
    const { keys, states } = this.#parts
    const state = states.of(purpose, workspace)
    if (state === undefined)
      throw meshErrors.DEPENDENCY_UNAVAILABLE({ cause: new Error('access has not reported the valid signature keys yet') })
    this.#compareRoots()
    const older = state.previous === undefined ? undefined : keys.key(purpose, workspace, state.previous)
    const newest = keys.key(purpose, workspace, state.generation)
    if (newest !== undefined) return { newest, previous: older }
    // Without a root, only the legacy key exists; unless it has been replaced, which required a root.
    const replaced = state.generation > 1 || (state.previous === undefined && state !== initialState)
    const legacy = replaced ? undefined : keys.key(purpose, workspace, legacyGeneration)
    if (legacy === undefined) throw meshErrors.DEPENDENCY_UNAVAILABLE({ cause: new Error('SIGNATURE_ROOT_SECRET is not set') })
    return { newest: legacy, previous: undefined }
  }

  /** The same after the first response of access; rejects when the signal aborts before. */
  async soon(purpose: Purpose, workspace: string, signal: AbortSignal): Promise<ActiveSignatureKeys> {
    await this.#parts.states.whenKnown(signal)
    return this.of(purpose, workspace)
  }

  #compareRoots(): void {
    const { keys, states, log } = this.#parts
    if (states.rootId === keys.rootId || states.rootId === this.#differs) return
    this.#differs = states.rootId
    if (states.rootId !== '' || keys.rootId !== '')
      log.error('SIGNATURE_ROOT_SECRET differs from that of access: the keys that admins see are not those in use')
  }
}
