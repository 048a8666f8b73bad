/**
 * Creating, listing, rotating and revoking keys, with the rules of who may do so:
 * - A key cannot do more than the caller who creates or rotates it, works from no other addresses, and expires no later (lineage.ts).
 * - Revoking a key also revokes its descendants, unless they are to be kept.
 * - A key for another actor with a permission of actions can be created or rotated only by a caller who sees all runs (runs:read_all).
 * - Without keys:admin, a caller sees only the keys of its own actor; other keys do not exist for it, like those of other workspaces.
 */
import { randomUUID } from 'node:crypto'
import { type KeyEnv, newApiKey } from '#mesh/api-key.ts'
import { type Principal, type AuditEvent, auditEvent } from '#mesh/audit/event.ts'
import { type FieldViolation, meshErrors } from '#mesh/errors.ts'
import { errors } from '../errors.ts'
import type { KeyHash, StoredKey } from './key.ts'
import { childOf, mayRotate } from './lineage.ts'
import { type Role, foreignScopes, isRole, permissionsOf } from './roles.ts'
import { canonicalSource } from './sources.ts'
import type { FoundKey, KeyPage, KeyStore, RevokeResult, RotateResult } from './store.ts'

/** The caller and its permissions. */
export interface KeyCreator extends Principal {
  may(permission: string): boolean
  /** Undefined for an operator who runs the programs of this service: such keys have no parent. */
  readonly operator?: true
}

export interface CreateKeyRequest {
  readonly name: string
  readonly role: string
  /** Narrows the role; the whole role if empty. */
  readonly scopes: readonly string[]
  readonly previewOnly: boolean
  /** The caller's own if undefined. */
  readonly actor: string | undefined
  readonly allowedSources: readonly string[]
  /** Until revoked if undefined. */
  readonly lifetimeMs: number | undefined
}

export interface KeysParts {
  readonly store: KeyStore
  readonly env: KeyEnv
  readonly hash: KeyHash
}

export class Keys {
  readonly #parts: KeysParts

  constructor(parts: KeysParts) {
    this.#parts = parts
  }

  /** `apiKey` is the key itself, which is not stored. */
  async create(by: KeyCreator, wanted: CreateKeyRequest): Promise<{ key: StoredKey; apiKey: string }> {
    const rights = rightsOf(wanted)
    const { name, actor = by.actor, previewOnly, lifetimeMs } = wanted
    if (actor !== by.actor && !by.may('keys:admin')) throw errors.ACTOR_NOT_YOURS()
    refuseWider(by, actor, rights.permissions)
    const parent = await this.#parentOf(by)
    const limits = parent === undefined ? { lifetimeMs } : childOf(parent, { ...rights, previewOnly, lifetimeMs })
    const { store, env, hash } = this.#parts
    const [keyId, apiKey] = [randomUUID(), newApiKey(env)]
    const whose = { workspace: by.workspace, actor, name, createdBy: by.actor, parent: parent?.keyId }
    const key = await store.add({ ...rights, previewOnly, ...limits, ...whose, keyId, hash: hash(apiKey) }, told(by, 'keys.create', keyId))
    if (key === 'parent ended') throw errors.CALLING_KEY_ENDED()
    if (key === 'limit') throw errors.KEY_LIMIT()
    return { key, apiKey }
  }

  list(by: KeyCreator, page: Pick<KeyPage, 'limit' | 'after'>): Promise<{ keys: StoredKey[]; next: KeyPage['after'] }> {
    return this.#parts.store.list({ ...page, workspace: by.workspace, actor: by.may('keys:admin') ? undefined : by.actor })
  }

  /** The successor can do what the old key can, so handing it out needs the same rights as creating it. */
  async rotate(by: KeyCreator, keyId: string, overlapMs: number): Promise<RotateResult & { apiKey: string }> {
    const key = await this.#find(by, keyId)
    refuseWider(by, key.actor, key.permissions)
    const parent = await this.#parentOf(by)
    if (parent !== undefined) mayRotate(parent, key)
    const { store, env, hash } = this.#parts
    const [freshId, apiKey] = [randomUUID(), newApiKey(env)]
    const rotation = {
      workspace: by.workspace,
      keyId,
      freshId,
      freshHash: hash(apiKey),
      createdBy: by.actor,
      parent: parent?.keyId,
      overlapMs,
    }
    const rotated = await store.rotate(rotation, told(by, 'keys.rotate', keyId, freshId))
    if (rotated === 'parent ended') throw errors.CALLING_KEY_ENDED()
    if (rotated === 'ended') throw errors.KEY_ENDED()
    if (rotated === 'limit') throw errors.KEY_LIMIT()
    if (rotated === undefined) throw errors.KEY_NOT_FOUND()
    return { ...rotated, apiKey }
  }

  /** Also revokes its descendants, unless they are to be kept. */
  async revoke(by: KeyCreator, keyId: string, { keepChildren = false } = {}): Promise<RevokeResult> {
    await this.#find(by, keyId)
    const childrenOf = by.may('keys:admin') ? undefined : by.actor
    const event = (id: string) => told(by, 'keys.revoke', id)
    const revoked = await this.#parts.store.revoke({ workspace: by.workspace, keyId, keepChildren, childrenOf }, event)
    if (revoked === undefined) throw errors.KEY_NOT_FOUND()
    if (revoked === 'children of others') throw errors.CHILDREN_NOT_YOURS()
    return revoked
  }

  /** The calling key; undefined for an operator. */
  async #parentOf(by: KeyCreator): Promise<FoundKey | undefined> {
    if (by.operator === true) return undefined
    const parent = await this.#parts.store.find(by.workspace, by.keyId)
    if (parent?.status !== 'active') throw errors.CALLING_KEY_ENDED()
    return parent
  }

  async #find(by: KeyCreator, keyId: string): Promise<StoredKey> {
    const key = await this.#parts.store.find(by.workspace, keyId)
    if (key === undefined || (key.actor !== by.actor && !by.may('keys:admin'))) throw errors.KEY_NOT_FOUND()
    return key
  }
}

/** A key for another actor reads that actor's runs and their results, so its creator must be able to read all runs. */
function refuseWider(by: KeyCreator, actor: string, permissions: readonly string[]): void {
  const others = actor !== by.actor && permissions.some((permission) => permission.startsWith('actions:')) ? ['runs:read_all'] : []
  const beyond = [...new Set([...permissions, ...others])].filter((permission) => !by.may(permission))
  if (beyond.length > 0) throw errors.SCOPE_TOO_WIDE({ metadata: { missing: beyond.join(' ') } })
}

const told = (by: Principal, action: string, ...keyIds: string[]): AuditEvent =>
  auditEvent('access', by, { action, outcome: 'success', targets: keyIds.map((keyId) => `key:${keyId}`) })

interface Rights {
  role: Role
  permissions: string[]
  allowedSources: string[]
}

/** Reports all violations at once, by field. */
function rightsOf({ name, actor, role, scopes, previewOnly, allowedSources }: CreateKeyRequest): Rights {
  const violations: FieldViolation[] = []
  const wrong = (field: string, description: string) => void violations.push({ field, description })
  for (const [field, text] of Object.entries({ name, actor })) {
    // They appear in logs and terminals; and not every text store can hold U+0000.
    if (text !== undefined && /\p{Cc}/u.test(text)) wrong(field, 'must not contain control characters')
  }
  const sources = allowedSources.map((text, index) => {
    try {
      return canonicalSource(text)
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      wrong(`allowed_sources.${index}`, error.message)
      return text
    }
  })
  if (!isRole(role)) {
    wrong('role', 'is not a role')
    throw meshErrors.INVALID_REQUEST({ violations })
  }
  const foreign = foreignScopes({ role, scopes })
  for (const index of foreign) wrong(`scopes.${index}`, `is not a permission of the role ${role}`)
  const permissions = permissionsOf({ role, scopes, previewOnly })
  if (permissions.length === 0 && foreign.length === 0) wrong('scopes', 'leave a preview-only key without any permission')
  if (violations.length > 0) throw meshErrors.INVALID_REQUEST({ violations })
  return { role, permissions, allowedSources: [...new Set(sources)] }
}
