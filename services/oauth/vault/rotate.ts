/**
 * Re-encrypts the tokens of every connection with the first key of the list, while they are in use. Tokens under that key stay, so that an
 * interrupted rotation continues; and it can be reversed, with the list in the opposite order.
 */
import type { ConnectionStore, LeasedConnection, SealedTokens } from '../connections/store.ts'
import { type Binding, type Vault, VaultError } from './vault.ts'

export interface Rotation {
  /** Connections examined. */
  readonly seen: number
  /** Of these, the ones that another key than the first had encrypted, or a bare token: under the first key now, or to be. */
  readonly rotated: number
  /** And those that cannot be decrypted. They are unchanged. */
  readonly refused: readonly UnreadableToken[]
}

export interface UnreadableToken {
  readonly workspace: string
  readonly connectionId: string
  readonly kind: 'access' | 'refresh'
  readonly reason: VaultError['reason']
}

export interface RotationParts {
  readonly store: Pick<ConnectionStore, 'rotateBatch'>
  readonly vault: Vault
  /** Maximum connections per transaction. */
  readonly limit: number
  /** Decrypts and reports, and changes nothing. */
  readonly dry?: boolean
  /** Called after every transaction. */
  readonly progress?: (soFar: Rotation) => void
}

/** Visits all connections once. An error of the store ends it: what was reported as progress is done. */
export async function rotate({ store, vault, limit, dry = false, progress }: RotationParts): Promise<Rotation> {
  const refused: UnreadableToken[] = []
  let [seen, rotated] = [0, 0]
  let after: string | undefined
  do {
    // Counted per batch, and added once it is committed.
    const batch: { refused: UnreadableToken[]; rotated: number } = { refused: [], rotated: 0 }
    const done = await store.rotateBatch({ after, limit }, (held) => {
      const tokens = resealed(vault, held, batch.refused)
      if (tokens !== undefined) batch.rotated += 1
      return dry ? undefined : tokens
    })
    seen += done.seen
    rotated += batch.rotated
    refused.push(...batch.refused)
    after = done.last
    if (done.seen > 0) progress?.({ seen, rotated, refused })
  } while (after !== undefined)
  return { seen, rotated, refused }
}

/** Undefined if nothing needs re-encrypting, or something cannot be decrypted: then all of the connection stays as it is. */
function resealed(
  vault: Vault,
  { workspace, connectionId, legacy, tokens }: LeasedConnection,
  refused: UnreadableToken[],
): SealedTokens | undefined {
  const reseal = (kind: 'access' | 'refresh', sealed: string): string | undefined => {
    const binding: Binding = { workspace, connectionId, kind }
    try {
      return vault.reseal(binding, sealed, { legacy })
    } catch (error) {
      if (!(error instanceof VaultError)) throw error
      refused.push({ workspace, connectionId, kind, reason: error.reason })
      return undefined
    }
  }
  const before = refused.length
  const access = reseal('access', tokens.access)
  const refresh = tokens.refresh === undefined ? undefined : reseal('refresh', tokens.refresh)
  if (refused.length > before || (access === undefined && refresh === undefined)) return undefined
  return { ...tokens, access: access ?? tokens.access, refresh: refresh ?? tokens.refresh }
}
