/**
 * The signature keys of a workspace, for its admins: which are valid, what they are, and their replacement with an overlap
 * (docs/decisions/0019-signature-keys.md). The rules of an overlap are here; keys are derived (mesh/signature-keys.ts), not stored.
 */
import { type Principal, type AuditEvent, auditEvent } from '#mesh/audit/event.ts'
import { type Purpose, type SignatureKeys, legacyGeneration, purposes, webhookSecretOf } from '#mesh/signature-keys.ts'
import type { KeyState } from '#mesh/signature-states.ts'
import { errors } from '../errors.ts'
import type { SignatureStore } from './store.ts'

export interface PurposeState extends KeyState {
  readonly purpose: Purpose
}

export interface RevealedKey {
  readonly state: PurposeState
  readonly secret: string
  /** Undefined outside an overlap, and for the key that is older than the root secret: other workspaces' keys may depend on it. */
  readonly previousSecret: string | undefined
}

export class Signatures {
  readonly #store: SignatureStore
  readonly #keys: SignatureKeys

  constructor({ store, keys }: { store: SignatureStore; keys: SignatureKeys }) {
    this.#store = store
    this.#keys = keys
  }

  list(by: Principal): Promise<PurposeState[]> {
    return Promise.all(purposes.map(async (purpose) => ({ purpose, ...(await this.#store.read(by.workspace, purpose)) })))
  }

  /** Writes the audit event before it reveals the key. Throws SIGNATURE_ROOT_MISSING. */
  async reveal(by: Principal, purpose: Purpose): Promise<RevealedKey> {
    this.#needRoot()
    const state = await this.#store.readAudited(by.workspace, purpose, (read) => told(by, 'signature_keys.reveal', purpose, read))
    const secretOf = (generation: number) => webhookSecretOf(this.#keys.key(purpose, by.workspace, generation)!)
    const { generation, previous = legacyGeneration } = state
    return {
      state: { purpose, ...state },
      secret: secretOf(generation),
      previousSecret: previous === legacyGeneration ? undefined : secretOf(previous),
    }
  }

  /** Throws SIGNATURE_ROOT_MISSING, and OVERLAP_OPEN if the previous key is still valid. */
  async replace(by: Principal, purpose: Purpose): Promise<PurposeState> {
    this.#needRoot()
    const replaced = ({ generation, previous }: KeyState): KeyState => {
      if (previous !== undefined) throw errors.OVERLAP_OPEN()
      return { generation: generation + 1, previous: generation }
    }
    const event = (state: KeyState) => told(by, 'signature_keys.replace', purpose, state)
    return { purpose, ...(await this.#store.change(by.workspace, purpose, replaced, event)) }
  }

  /** Does nothing if there is no overlap. Throws SIGNATURE_ROOT_MISSING: without a root secret the previous key is the only one. */
  async endOverlap(by: Principal, purpose: Purpose): Promise<PurposeState> {
    this.#needRoot()
    const ended = ({ generation, previous }: KeyState) => (previous === undefined ? undefined : { generation, previous: undefined })
    const event = (state: KeyState) => told(by, 'signature_keys.end_overlap', purpose, state)
    return { purpose, ...(await this.#store.change(by.workspace, purpose, ended, event)) }
  }

  #needRoot(): void {
    if (this.#keys.rootId === '') throw errors.SIGNATURE_ROOT_MISSING()
  }
}

const told = (by: Principal, action: string, purpose: Purpose, { generation }: KeyState): AuditEvent =>
  auditEvent('access', by, { action, outcome: 'success', targets: [`signature_key:${purpose}.${generation}`] })
