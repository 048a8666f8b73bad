/** What the tests of keys ask with. */
import { randomBytes, randomUUID } from 'node:crypto'
import { type AuditEvent, auditEvent } from '#mesh/audit/event.ts'
import type { NewKey, StoredKey } from '../../services/access/keys/key.ts'
import type { KeyStore, RevokeResult, RevokeInput, Rotation } from '../../services/access/keys/store.ts'

export interface Engine {
  readonly store: KeyStore
  /** Lets that many milliseconds pass for everything that is kept. */
  advance(ms: number): Promise<void>
  /** What the audit log has yet to be told. */
  events(): Promise<AuditEvent[]>
  close(): Promise<void>
}

export const dayMs = 86_400_000
export const hourMs = 3_600_000

export const freshWorkspace = (): string => `w-${randomUUID()}`

export const newKey = (over: Partial<NewKey> = {}): NewKey => ({
  keyId: randomUUID(),
  hash: randomBytes(32),
  workspace: 'w',
  actor: 'ada',
  name: 'laptop',
  role: 'operator',
  permissions: ['actions:read', 'actions:preview'],
  previewOnly: false,
  allowedSources: ['192.0.2.0/24'],
  createdBy: 'grace',
  parent: undefined,
  lifetimeMs: undefined,
  ...over,
})

export const rotationOf = ({ workspace, keyId }: Pick<StoredKey, 'workspace' | 'keyId'>, overlapMs = hourMs): Rotation => ({
  workspace,
  keyId,
  freshId: randomUUID(),
  freshHash: randomBytes(32),
  createdBy: 'grace',
  parent: undefined,
  overlapMs,
})

export const eventOf = (action = 'keys.create'): AuditEvent =>
  auditEvent(
    'access',
    { workspace: 'w', actor: 'grace', keyId: 'k', requestId: randomUUID(), traceId: '', source: '192.0.2.1' },
    { action, outcome: 'success', targets: ['key:k'] },
  )

/** The value, where a store might have answered that it is not there or cannot be. */
export function given<T extends object>(value: T | string | undefined): T {
  if (typeof value !== 'object') throw new Error(`the store said ${value ?? 'that it is not there'}`)
  return value
}

export const added = async (store: KeyStore, key: NewKey = newKey()): Promise<StoredKey> => given(await store.add(key, eventOf()))

export const revokingOf = ({ workspace, keyId }: Pick<StoredKey, 'workspace' | 'keyId'>, over: Partial<RevokeInput> = {}): RevokeInput => ({
  workspace,
  keyId,
  keepChildren: false,
  childrenOf: undefined,
  ...over,
})

/** Of a key that made none. */
export const revokeIn = async (store: KeyStore, key: Pick<StoredKey, 'workspace' | 'keyId'>, event = eventOf()): Promise<StoredKey> =>
  given<RevokeResult>(await store.revoke(revokingOf(key), () => event)).key
