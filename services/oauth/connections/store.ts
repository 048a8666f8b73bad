/**
 * Stores connections, with their tokens encrypted by the vault: nothing here is ever in clear text. One owner has one connection per
 * provider. A refresh holds a lease under an epoch. Every change raises the epoch, from one sequence for all, so that a late writer finds
 * another epoch and concludes nothing, and no epoch occurs twice, even if a connection was removed and created again. What a provider
 * granted in exchange for tokens is written as long as those are current: their version says so, whoever holds the lease.
 *
 * An unreachable store throws DEPENDENCY_UNAVAILABLE, and the outcome of a change is then unknown.
 */
import type { AuditEvent } from '#mesh/audit/event.ts'
import type { HeartbeatResult } from '#mesh/heartbeat.ts'
import type { Revokes } from '../revocations/revocation.ts'
import type { Identity } from './account.ts'

export interface Owner {
  readonly workspace: string
  readonly actor: string
  readonly provider: string
}

export interface Connection extends Owner, Identity {
  /** A UUID. */
  readonly connectionId: string
  /** The account's address or name, from the provider. */
  readonly account: string
  /** The granted scopes. */
  readonly scopes: readonly string[]
  readonly status: 'connected' | 'reauth_required'
  /** Why it must be connected again, in capitals. */
  readonly reason?: string | undefined
  readonly epoch: number
  readonly connectedAt: Date
  readonly refreshedAt?: Date | undefined
}

export interface SealedTokens {
  readonly access: string
  readonly accessExpiresAt: Date
  /** Absent if the provider granted none. */
  readonly refresh?: string | undefined
}

/** A connection with its tokens. */
export interface LeasedConnection extends Connection {
  readonly tokens: SealedTokens
  /** Encrypted by the service before this one, without its context. */
  readonly legacy: boolean
  /** For how much longer it is being refreshed, in milliseconds; 0 if it is not. */
  readonly leasedMs: number
  /** For how long the provider must be left alone, in milliseconds; 0 if not. */
  readonly restMs: number
  /** Refreshes that failed since the last successful one, with the connection still valid. */
  readonly failures: number
  /** Changes with the tokens, by a refresh or by connecting, and with nothing else. */
  readonly version: string
  /** Whether a lease was taken and never ended: its holder may have been granted new tokens. */
  readonly unfinished: boolean
}

/** A provider's grant. Encrypting the tokens needs the id first: the existing one if the account is the same. */
export interface NewConnection extends Owner, Identity {
  readonly connectionId: string
  readonly account: string
  readonly scopes: readonly string[]
  /** Without a refresh token the existing one is kept, if it is of the same connection. */
  readonly tokens: SealedTokens
}

/**
 * Maximum time between heartbeats before it counts as a gap, in milliseconds: shorter than what a lease has left after the slowest
 * provider, so that no outage in which a lease expired goes unnoticed.
 */
export const gapMs = 1000

/** Per workspace. */
export const maxOfWorkspace = 10_000

export interface ConnectionStore {
  /** Creates the owner's connection, or replaces it. The event commits with it, and so does what must be revoked of the earlier one. */
  upsert(made: NewConnection, event: AuditEvent, revokes?: Revokes): Promise<Connection>
  find(owner: Owner): Promise<LeasedConnection | undefined>
  /** By provider. */
  list(workspace: string, actor: string): Promise<Connection[]>
  /**
   * Deletes it and its tokens, whoever refreshes it now; what must be revoked of it is written with that. Undefined: there is none, and no
   * event is written.
   */
  disconnect(
    workspace: string,
    actor: string,
    connectionId: string,
    event: AuditEvent,
    revokes?: Revokes,
  ): Promise<LeasedConnection | undefined>
  /**
   * Deletes up to `limit` connections whose owners have not reconnected for so many milliseconds, each with its event. Returns how many.
   */
  expire(endedMs: number, limit: number, eventOf: (connection: Connection) => AuditEvent): Promise<number>
  /** Whether a workspace has reached its limit. */
  isFull(workspace: string): Promise<boolean>

  /**
   * Undefined: it was changed, another process refreshes it, or their lease expired and there is no evidence yet that they could have
   * written.
   */
  takeRefresh(connectionId: string, epoch: number, leaseMs: number): Promise<{ epoch: number } | undefined>
  /**
   * Replaces tokens of this version with those that were granted for them; any lease ends. If another process concluded from the old ones
   * that the owner must reconnect, a new refresh token reverses that, and the event says so; without one it stays. Undefined: the tokens
   * are different, nothing was written.
   */
  writeRefreshed(connectionId: string, version: string, tokens: SealedTokens, event: AuditEvent): Promise<WriteResult | undefined>
  /** Ends the lease of this epoch: the owner must reconnect. The refresh token is deleted. False: too late. */
  failRefresh(connectionId: string, epoch: number, reason: string, event: AuditEvent): Promise<boolean>
  /** Ends the lease of this epoch without a change, and leaves the provider alone for so many milliseconds after a failure. */
  releaseRefresh(connectionId: string, epoch: number, restMs?: number): Promise<void>
  /** The provider rejects this access token (encrypted): it counts as expired, whatever its date. False: it is a different one by now. */
  expireAccess(connectionId: string, access: string): Promise<boolean>

  /** Reports that the database can be written to. */
  beat(): Promise<HeartbeatResult>

  /** Re-encrypts tokens, in the order of ids; they cannot change in between. */
  rotateBatch(batch: RotationBatch, reseal: Reseal): Promise<RotatedBatch>
}

export interface WriteResult {
  readonly epoch: number
  readonly refreshedAt: Date
  readonly version: string
  /** Whether it had to be connected again before. */
  readonly recovered: boolean
}

export interface RotationBatch {
  /** The last id of the previous batch. */
  readonly after?: string | undefined
  readonly limit: number
}

/** The same tokens, re-encrypted; undefined if they need no change. If it throws, the batch ends without a change. */
export type Reseal = (held: LeasedConnection) => SealedTokens | undefined

export interface RotatedBatch {
  readonly seen: number
  readonly rotated: number
  /** Where the next batch begins; undefined after the last. */
  readonly last: string | undefined
}
