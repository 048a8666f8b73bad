/**
 * The keys that bodies are signed with (docs/decisions/0019-signature-keys.md): one per workspace, purpose and generation.
 *
 * - From generation 1 on: HKDF-SHA256 (RFC 5869) of the root, which no receiver and no client ever has; salt `relay/signature/v2`, info the
 *   JSON array [purpose, workspace, generation], 32 bytes.
 * - Generation 0, from before there were any, is the same for both purposes: for workspace `default` the UTF-8 bytes of
 *   ACTIONS_SIGNING_SECRET; for others HKDF-SHA256 of those bytes, salt `relay/signature/v1`, info `workspace:<name>`, 32 bytes.
 *
 * Which generations count is not decided here: access says so (signature-states.ts).
 */
import { type KeyObject, createSecretKey, hkdfSync } from 'node:crypto'
import { LruCache } from './lru-cache.ts'

/** `outbound`: signs what Relay sends. `inbound`: signs what clients send. */
export type Purpose = 'outbound' | 'inbound'
export const purposes = ['outbound', 'inbound'] as const satisfies readonly Purpose[]

/** The key from before there were generations. */
export const legacyGeneration = 0

export interface SignatureSecrets {
  /** SIGNATURE_ROOT_SECRET. */
  readonly root: string | undefined
  /** ACTIONS_SIGNING_SECRET. */
  readonly legacy: string | undefined
}

const cachedKeys = 1000

export class SignatureKeys {
  readonly #root: string | undefined
  readonly #legacy: string | undefined
  readonly #cache = new LruCache<KeyObject>(cachedKeys)
  /** Tells whether two processes have the same root, without revealing it; empty without a root. */
  readonly rootId: string

  constructor({ root, legacy }: SignatureSecrets) {
    this.#root = root
    this.#legacy = legacy
    this.rootId = this.#root === undefined ? '' : derive(this.#root, 'relay/signature/root-id', '').export().toString('hex').slice(0, 16)
  }

  /** Undefined if the secret that it derives from is not configured. */
  key(purpose: Purpose, workspace: string, generation: number): KeyObject | undefined {
    const name = JSON.stringify([generation === legacyGeneration ? '' : purpose, workspace, generation])
    const cached = this.#cache.get(name)
    if (cached !== undefined) return cached
    const key = this.#derive(purpose, workspace, generation)
    if (key !== undefined) this.#cache.set(name, key)
    return key
  }

  #derive(purpose: Purpose, workspace: string, generation: number): KeyObject | undefined {
    if (generation !== legacyGeneration) {
      return this.#root === undefined
        ? undefined
        : derive(this.#root, 'relay/signature/v2', JSON.stringify([purpose, workspace, generation]))
    }
    if (this.#legacy === undefined) return undefined
    if (workspace === 'default') return createSecretKey(this.#legacy, 'utf8')
    return derive(this.#legacy, 'relay/signature/v1', `workspace:${workspace}`)
  }
}

const derive = (secretText: string, salt: string, info: string): KeyObject =>
  createSecretKey(Buffer.from(hkdfSync('sha256', secretText, salt, info, 32)))

/** A key in the form of Standard Webhooks libraries. */
export const webhookSecretOf = (key: KeyObject): string => `whsec_${key.export().toString('base64')}`
