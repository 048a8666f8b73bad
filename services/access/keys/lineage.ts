/**
 * What a key passes on to the keys that it creates. Pure. A child never exceeds its parent in any property that narrows a key: expiry,
 * sources, permissions, preview-only. (Workspace and actor are checked where the caller is known.) Properties that a request omits are
 * inherited. A request that exceeds the parent is rejected, because a key that silently does less than requested fails later and elsewhere.
 */
import { errors } from '../errors.ts'
import type { StoredKey } from './key.ts'
import { sourcesWithin } from './sources.ts'
import type { FoundKey } from './store.ts'

type Limits = Pick<FoundKey, 'allowedSources' | 'permissions' | 'previewOnly' | 'expiresInMs'>

export interface ChildRequest {
  readonly permissions: readonly string[]
  readonly previewOnly: boolean
  /** The parent's if empty. */
  readonly allowedSources: readonly string[]
  /** The parent's if undefined. */
  readonly lifetimeMs: number | undefined
}

/** The limits of a child as stored. Throws SCOPE_TOO_WIDE and KEY_TOO_WIDE. */
export function childOf(parent: Limits, { permissions, previewOnly, allowedSources, lifetimeMs }: ChildRequest) {
  refuseWiderRights(parent, { permissions, previewOnly })
  if (!sourcesWithin(allowedSources, parent.allowedSources)) throw tooWide('allowed_sources', sourcesSentence)
  const { expiresInMs } = parent
  if (lifetimeMs !== undefined && expiresInMs !== undefined && lifetimeMs > expiresInMs) throw tooWide('expires_in', endSentence)
  return {
    allowedSources: allowedSources.length === 0 ? parent.allowedSources : allowedSources,
    lifetimeMs: lifetimeMs ?? expiresInMs,
  }
}

/**
 * Checks that a key may rotate another one. The successor gets the limits of the old key, so these must lie within those of the calling
 * key. Throws SCOPE_TOO_WIDE and KEY_TOO_WIDE. The store makes the successor expire no later than the calling key.
 */
export function mayRotate(by: StoredKey, key: StoredKey): void {
  refuseWiderRights(by, key)
  const anywhere = key.allowedSources.length === 0 && by.allowedSources.length > 0
  if (anywhere || !sourcesWithin(key.allowedSources, by.allowedSources)) throw tooWide('allowed_sources', sourcesSentence)
  if (by.expiresAt !== undefined && (key.expiresAt === undefined || key.expiresAt > by.expiresAt)) throw tooWide('expires_in', endSentence)
}

function refuseWiderRights(
  parent: Pick<Limits, 'permissions' | 'previewOnly'>,
  { permissions, previewOnly }: Pick<ChildRequest, 'permissions' | 'previewOnly'>,
): void {
  const beyond = permissions.filter((each) => !parent.permissions.includes(each))
  if (beyond.length > 0) throw errors.SCOPE_TOO_WIDE({ metadata: { missing: beyond.join(' ') } })
  if (parent.previewOnly && !previewOnly)
    throw tooWide('preview_only', 'The calling key is preview-only, so every key that it creates must be. Set preview_only.')
}

const endSentence =
  'A key cannot outlive the key that creates or rotates it. Choose an earlier expiry, or call with a key that lasts longer.'
const sourcesSentence =
  'A key cannot be used from more addresses than the key that creates or rotates it. Choose allowed_sources within those of the calling key.'

const tooWide = (field: string, message: string) => errors.KEY_TOO_WIDE({ message, metadata: { field } })
