/**
 * Where connections are kept, with their tokens sealed by the vault: nothing here is ever seen in the clear. One owner has one connection a
 * provider. Whoever refreshes holds a lease under an epoch; every change raises the epoch, out of one sequence for all, so that whoever
 * comes late finds another one and concludes nothing, and no epoch comes twice, even where a connection was removed and made anew. What a
 * provider gave in exchange for tokens is written as long as those are there: their version says so, whoever has the lease.
 *
 * A store that cannot be reached throws DEPENDENCY_UNAVAILABLE, and the outcome of a change is then not known.
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
  /** The account's address or name, as the provider says it. */
  readonly account: string
  /** What was granted. */
  readonly scopes: readonly string[]
  readonly status: 'connected' | 'reauth_required'
  /** Why it has to be connected anew, in capitals. */
  readonly reason?: string | undefined
  readonly epoch: number
  readonly connectedAt: Date
  readonly refreshedAt?: Date | undefined
}

export interface SealedTokens {
  readonly access: string
  readonly accessExpiresAt: Date
  /** Absent where the provider gave none. */
  readonly refresh?: string | undefined
}

/** A connection with what it is there for. */
export interface LeasedConnection extends Connection {
  readonly tokens: SealedTokens
  /** Sealed by the service before this one, bare: without saying whose it is. */
  readonly legacy: boolean
  /** For how much longer somebody refreshes it, in milliseconds; 0 where nobody does. */
  readonly leasedMs: number
  /** For how long the provider is left alone, in milliseconds; 0 where it may be asked. */
  readonly restMs: number
  /** Refreshes that failed since the last one that did not, with the connection still good. */
  readonly failures: number
  /** Changes with the tokens, by a refresh or by connecting, and with nothing else. */
  readonly version: string
  /** Whether a lease was taken that nobody ended: who took it may have been given new tokens. */
  readonly unfinished: boolean
}

/** What a provider granted. Whoever seals the tokens needs the id before: the one that stands where the account is the same. */
export interface NewConnection extends Owner, Identity {
  readonly connectionId: string
  readonly account: string
  readonly scopes: readonly string[]
  /** Without a refresh token the one that stands is kept, where it is of the same connection. */
  readonly tokens: SealedTokens
}

/**
 * How long the database may go without a beat before that counts as a gap, in milliseconds: shorter than what a lease has left when the
 * provider was as slow as it may be, so that no outage in which a lease ran out goes unseen.
 */
export const gapMs = 1000

/** Connections of one workspace. */
export const maxOfWorkspace = 10_000

export interface ConnectionStore {
  /**
   * Makes the owner's connection, or puts this one in the place of it. The event commits with it, and what is to be revoked of the one that
   * was there.
   */
  upsert(made: NewConnection, event: AuditEvent, revokes?: Revokes): Promise<Connection>
  find(owner: Owner): Promise<LeasedConnection | undefined>
  /** By provider. */
  list(workspace: string, actor: string): Promise<Connection[]>
  /**
   * Forgets it and its tokens, whoever refreshes it now; what is to be revoked of it is written with that. Undefined: there is none, and no
   * event is written.
   */
  disconnect(
    workspace: string,
    actor: string,
    connectionId: string,
    event: AuditEvent,
    revokes?: Revokes,
  ): Promise<LeasedConnection | undefined>
  /** Forgets up to so many whose owners have had to connect anew for so many milliseconds, each with its event. How many they were. */
  expire(endedMs: number, limit: number, eventOf: (connection: Connection) => AuditEvent): Promise<number>
  /** Whether a workspace has as many as it may. */
  isFull(workspace: string): Promise<boolean>

  /**
   * Undefined: it was changed, somebody else refreshes it, or their lease ran out and there is no evidence yet that they could have written.
   */
  takeRefresh(connectionId: string, epoch: number, leaseMs: number): Promise<{ epoch: number } | undefined>
  /**
   * Puts tokens in the place of those of this version, which they were given for; whatever lease there is has ended. Where somebody concluded
   * from the old ones that the owner has to connect anew, a new refresh token takes that back, and the event says so; without one it stands.
   * Undefined: there are other tokens, nothing was written.
   */
  writeRefreshed(connectionId: string, version: string, tokens: SealedTokens, event: AuditEvent): Promise<WriteResult | undefined>
  /** Ends the lease of this epoch: the owner has to connect anew. The refresh token is forgotten. False: too late. */
  failRefresh(connectionId: string, epoch: number, reason: string, event: AuditEvent): Promise<boolean>
  /** Ends the lease of this epoch with nothing changed, and leaves the provider alone for so many milliseconds after a failure. */
  releaseRefresh(connectionId: string, epoch: number, restMs?: number): Promise<void>
  /** The provider refuses this access token (sealed): it has expired, whatever its date said. False: it is another one by now. */
  expireAccess(connectionId: string, access: string): Promise<boolean>

  /** Says that the database can be written to now. */
  beat(): Promise<HeartbeatResult>

  /** Seals tokens anew, in the order of ids; nobody changes them in between. */
  rotateBatch(batch: RotationBatch, reseal: Reseal): Promise<RotatedBatch>
}

export interface WriteResult {
  readonly epoch: number
  readonly refreshedAt: Date
  readonly version: string
  /** Whether it had to be connected anew before. */
  readonly recovered: boolean
}

export interface RotationBatch {
  /** The last id of the batch before. */
  readonly after?: string | undefined
  readonly limit: number
}

/** The same tokens, sealed otherwise; undefined where they stand as they should. What it throws ends the batch with nothing changed. */
export type Reseal = (held: LeasedConnection) => SealedTokens | undefined

export interface RotatedBatch {
  readonly seen: number
  readonly rotated: number
  /** Where the next batch goes on; undefined when there was none left. */
  readonly last: string | undefined
}
