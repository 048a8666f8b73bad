/** The RPCs of relay.access.v1.KeysService: proto ⇄ domain, nothing more. */
import { type Key as KeyMessage, KeysServiceService } from '#gen/relay/access/v1/keys.ts'
import { type Call, principalOf, callerOf } from '#mesh/grpc/call.ts'
import { type BoundServer, served } from '#mesh/grpc/server.ts'
import { readPageToken, writePageToken } from '#mesh/page-token.ts'
import type { Instruments } from '../metrics.ts'
import type { StoredKey } from './key.ts'
import type { KeyCreator, Keys } from './keys.ts'

export interface ServiceParts {
  keys: Keys
  instruments: Instruments
  /** Called after each act: its audit event waits to be sent. */
  acted?: () => void
}

const defaultPage = 50
const defaultOverlapMs = 86_400_000

export function keysService({ keys, instruments, acted = () => {} }: ServiceParts): BoundServer {
  return served(KeysServiceService, {
    async createKey(request, call) {
      const { name, role, scopes, previewOnly, actor, allowedSources, expiresIn } = request
      const lifetimeMs = expiresIn === undefined ? undefined : expiresIn * 1000
      const { key, apiKey } = await keys.create(makerOf(call), { name, role, scopes, previewOnly, actor, allowedSources, lifetimeMs })
      instruments.keys.inc({ change: 'created' })
      acted()
      return { key: toMessage(key), apiKey, requestId: call.requestId }
    },

    async listKeys({ pageSize, pageToken }, call) {
      const page = { limit: pageSize === 0 ? defaultPage : pageSize, after: readPageToken(pageToken) }
      const { keys: listed, next } = await keys.list(makerOf(call), page)
      return { keys: listed.map(toMessage), nextPageToken: writePageToken(next), requestId: call.requestId }
    },

    async rotateKey({ keyId, overlap }, call) {
      const overlapMs = overlap === undefined ? defaultOverlapMs : overlap * 1000
      const { fresh, previous, apiKey } = await keys.rotate(makerOf(call), keyId, overlapMs)
      instruments.keys.inc({ change: 'rotated' })
      acted()
      return { key: toMessage(fresh), apiKey, previous: toMessage(previous), requestId: call.requestId }
    },

    async revokeKey({ keyId, keepChildren }, call) {
      const { key, children } = await keys.revoke(makerOf(call), keyId, { keepChildren })
      instruments.keys.inc({ change: 'revoked' }, 1 + children.length)
      acted()
      return { key: toMessage(key), revokedChildren: [...children], requestId: call.requestId }
    },
  })
}

const makerOf = (call: Call): KeyCreator => ({ ...principalOf(call), may: (permission) => callerOf(call).may(permission) })

const toMessage = (key: StoredKey): KeyMessage => ({
  keyId: key.keyId,
  name: key.name,
  actor: key.actor,
  role: key.role,
  permissions: [...key.permissions],
  previewOnly: key.previewOnly,
  allowedSources: [...key.allowedSources],
  status: key.status,
  createdAt: key.createdAt.toISOString(),
  createdBy: key.createdBy,
  expiresAt: key.expiresAt?.toISOString(),
  revokedAt: key.revokedAt?.toISOString(),
  lastUsedAt: key.lastUsedAt?.toISOString(),
  replaces: key.replaces,
  parent: key.parent,
})
