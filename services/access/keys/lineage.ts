/**
 * What a key passes on to the keys that it makes: pure. A child never reaches beyond its parent in any property that narrows a key: end,
 * sources, permissions, preview-only. (Workspace and actor are checked where the caller is known.) What a request leaves open is inherited;
 * what it asks for beyond the parent is refused, since a key that silently does less than it was asked to breaks later and elsewhere.
 */
import { errors } from '../errors.ts'
import type { StoredKey } from './key.ts'
import { sourcesWithin } from './sources.ts'
import type { FoundKey } from './store.ts'

type Limits = Pick<FoundKey, 'allowedSources' | 'permissions' | 'previewOnly' | 'expiresInMs'>

export interface ChildRequest {
  readonly permissions: readonly string[]
  readonly previewOnly: boolean
  /** As the parent's when empty. */
  readonly allowedSources: readonly string[]
  /** As long as the parent when undefined. */
  readonly lifetimeMs: number | undefined
}

/** The limits of a child as it is to be stored. Throws SCOPE_TOO_WIDE and KEY_TOO_WIDE. */
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
 * Whether a key may rotate another one: the successor gets what the old key has, so the old key must lie within the one that asks. Throws
 * SCOPE_TOO_WIDE and KEY_TOO_WIDE. The store ends the successor with the key that asks, at the latest.
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
    throw tooWide('preview_only', 'The calling key only previews, and so must every key that it makes.')
}

const endSentence = 'A key cannot outlive the key that makes or rotates it. Choose an earlier end, or call with a key that lasts longer.'
const sourcesSentence =
  'A key cannot be used from more addresses than the key that makes or rotates it. Choose allowed_sources within those of the calling key.'

const tooWide = (field: string, message: string) => errors.KEY_TOO_WIDE({ message, metadata: { field } })
