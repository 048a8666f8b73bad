/** Tokens that their provider is to forget: which, and when that would take more than it should. Pure. */
import { randomUUID } from 'node:crypto'
import { type Identity, isOtherAccount } from '../connections/account.ts'
import type { LeasedConnection, NewConnection } from '../connections/store.ts'
import type { Provider } from '../providers/provider.ts'

export interface Revocation extends Identity {
  /** A UUID. */
  readonly revocationId: string
  readonly workspace: string
  /** Which the token is sealed for. */
  readonly connectionId: string
  readonly provider: string
  readonly kind: 'access' | 'refresh'
  readonly sealed: string
  readonly legacy: boolean
}

/** Which of a connection that ends here has to be forgotten. Undefined: there is none. */
export type Revokes = (before: LeasedConnection) => Revocation | undefined

/** What names a connection, and its tokens as they are sealed. */
export type Revocable = Identity &
  Pick<LeasedConnection, 'workspace' | 'connectionId' | 'provider' | 'legacy'> & {
    tokens: Pick<LeasedConnection['tokens'], 'access' | 'refresh'>
  }

/** The refresh token's end is that of the access tokens made from it (RFC 7009, 2.1). */
export function revocationOf(held: Revocable): Revocation {
  const { workspace, connectionId, provider, issuer, subject, legacy, tokens } = held
  const kind = tokens.refresh === undefined ? 'access' : 'refresh'
  const sealed = tokens.refresh ?? tokens.access
  return { revocationId: randomUUID(), workspace, connectionId, provider, issuer, subject, kind, sealed, legacy }
}

/**
 * What connecting puts another in the place of. Of the same account, or one that may be the same, an old token is left alone where revoking
 * it would end the new one too.
 */
export const replacedBy =
  (made: NewConnection, { revocationEnds }: Pick<Provider, 'revocationEnds'>): Revokes =>
  (before) => {
    const isReplaced = before.connectionId !== made.connectionId || made.tokens.refresh !== undefined
    const isSafe = revocationEnds === 'grant' || isOtherAccount(before, made)
    return before.status === 'connected' && isReplaced && isSafe ? revocationOf(before) : undefined
  }
