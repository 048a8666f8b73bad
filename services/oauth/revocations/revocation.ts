/** Tokens that a provider must revoke: which, and when that would end too much. Pure. */
import { randomUUID } from 'node:crypto'
import { type Identity, isOtherAccount } from '../connections/account.ts'
import type { LeasedConnection, NewConnection } from '../connections/store.ts'
import type { Provider } from '../providers/provider.ts'

export interface Revocation extends Identity {
  /** A UUID. */
  readonly revocationId: string
  readonly workspace: string
  /** The connection that the token is encrypted for. */
  readonly connectionId: string
  readonly provider: string
  readonly kind: 'access' | 'refresh'
  readonly sealed: string
  readonly legacy: boolean
}

/** The revocation of a connection that ends here. Undefined: there is nothing to revoke. */
export type Revokes = (before: LeasedConnection) => Revocation | undefined

/** Identifies a connection, with its encrypted tokens. */
export type Revocable = Identity &
  Pick<LeasedConnection, 'workspace' | 'connectionId' | 'provider' | 'legacy'> & {
    tokens: Pick<LeasedConnection['tokens'], 'access' | 'refresh'>
  }

/** Revoking the refresh token ends the access tokens made from it (RFC 7009, 2.1). */
export function revocationOf(held: Revocable): Revocation {
  const { workspace, connectionId, provider, issuer, subject, legacy, tokens } = held
  const kind = tokens.refresh === undefined ? 'access' : 'refresh'
  const sealed = tokens.refresh ?? tokens.access
  return { revocationId: randomUUID(), workspace, connectionId, provider, issuer, subject, kind, sealed, legacy }
}

/**
 * The revocation of a connection that connecting replaces. If it is of the same account, or may be, its token is left alone if revoking it
 * would end the new one too.
 */
export const replacedBy =
  (made: NewConnection, { revocationEnds }: Pick<Provider, 'revocationEnds'>): Revokes =>
  (before) => {
    const isReplaced = before.connectionId !== made.connectionId || made.tokens.refresh !== undefined
    const isSafe = revocationEnds === 'grant' || isOtherAccount(before, made)
    return before.status === 'connected' && isReplaced && isSafe ? revocationOf(before) : undefined
  }
