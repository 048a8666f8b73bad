/** Creates, finds and removes connections, each act with its audit event. Refreshing is in tokens/. */
import { randomUUID } from 'node:crypto'
import { type Principal, type AuditEvent, auditEvent } from '#mesh/audit/event.ts'
import { errors } from '../errors.ts'
import type { Revokes } from '../revocations/revocation.ts'
import type { TokenCache } from './token-cache.ts'
import type { Connection, ConnectionStore, LeasedConnection, NewConnection, Owner } from './store.ts'

export interface ConnectionsParts {
  readonly store: ConnectionStore
  readonly cache: TokenCache
  /** Called after each act: its audit event is pending. */
  readonly acted?: () => void
}

export class Connections {
  readonly #parts: ConnectionsParts

  constructor(parts: ConnectionsParts) {
    this.#parts = parts
  }

  find(owner: Owner): Promise<LeasedConnection | undefined> {
    return this.#parts.store.find(owner)
  }

  /** Those of one actor, by provider. */
  list(workspace: string, actor: string): Promise<Connection[]> {
    return this.#parts.store.list(workspace, actor)
  }

  /** Whether the owner may have a connection: one more, if there is none yet. */
  async hasRoom(owner: Owner): Promise<boolean> {
    const { store } = this.#parts
    return (await store.find(owner)) !== undefined || !(await store.isFull(owner.workspace))
  }

  /** Stores what a provider granted, in place of the owner's earlier connection. What must be revoked of that one is written with it. */
  async made(made: NewConnection, by: Principal, revokes?: Revokes): Promise<Connection> {
    const { store, cache, acted } = this.#parts
    const connection = await store.upsert(made, connectionEvent(by, 'connection.made', made), revokes)
    // The earlier state, not what can be read from now on.
    cache.forget({ ...connection, epoch: connection.epoch - 1 })
    acted?.()
    return connection
  }

  /** Deletes a connection of the caller. Returns what the provider must revoke; undefined: there was none. */
  async remove(by: Principal, connectionId: string, revokes?: Revokes): Promise<LeasedConnection | undefined> {
    const { store, cache, acted } = this.#parts
    // The provider is known only once the row is deleted: the event is written without it.
    const event = auditEvent('oauth', by, { action: 'connection.removed', outcome: 'success', targets: [`connection:${connectionId}`] })
    const removed = await store.disconnect(by.workspace, by.actor, connectionId, event, revokes)
    if (removed === undefined) return undefined
    cache.forget(removed)
    acted?.()
    return removed
  }

  /** Deletes up to `limit` connections whose owners have not reconnected for so long. Returns how many. */
  async expire(endedMs: number, limit: number): Promise<number> {
    const { store, acted } = this.#parts
    const count = await store.expire(endedMs, limit, expiryOf)
    if (count > 0) acted?.()
    return count
  }
}

/** Expiry is not an act of a caller: the event names the owner, without a key. */
function expiryOf(connection: Connection): AuditEvent {
  const { workspace, actor } = connection
  return connectionEvent(
    { workspace, actor, keyId: '', requestId: randomUUID(), traceId: '', source: '' },
    'connection.removed',
    connection,
    'EXPIRED',
  )
}

/** An event about one connection. */
export function connectionEvent(
  by: Principal,
  action: string,
  { connectionId, provider }: Pick<Connection, 'connectionId' | 'provider'>,
  reason?: string,
): AuditEvent {
  const targets = [`connection:${connectionId}`, `provider:${provider}`]
  return auditEvent('oauth', by, { action, outcome: 'success', reason, targets })
}

/** Where an account is connected, or reconnected. */
export const authorizePath = (provider: string): string => `/oauth/${provider}/authorize`

/** The requested connection, if it can act. Throws NOT_CONNECTED, CONNECTION_CHANGED, REAUTH_REQUIRED, each with where to connect. */
export function usable(
  found: LeasedConnection | undefined,
  { provider, connectionId }: Owner & { connectionId: string },
): LeasedConnection {
  const metadata = { authorize_path: authorizePath(provider) }
  if (found === undefined) throw errors.NOT_CONNECTED({ metadata })
  if (found.connectionId !== connectionId) throw errors.CONNECTION_CHANGED({ metadata })
  if (found.status === 'reauth_required') throw errors.REAUTH_REQUIRED({ metadata: { ...metadata, reason: found.reason ?? '' } })
  return found
}
