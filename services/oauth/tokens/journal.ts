/**
 * The grant for a refresh token that the provider no longer accepts, stored outside the database until it is in there: the exchange cannot
 * be repeated, and the process that made it may die, or be cut off, before it can write. Encrypted by the vault; its version says what it
 * was exchanged for. A journal that does not respond counts as empty.
 */
import type { SealedTokens } from '../connections/store.ts'

export interface JournalEntry {
  readonly connectionId: string
  /** Of the tokens that were exchanged. */
  readonly version: string
  readonly tokens: SealedTokens
}

export interface TokenJournal {
  /** Resolves when it is stored, or cannot be. */
  keep(entry: JournalEntry): Promise<void>
  find(connectionId: string): Promise<JournalEntry | undefined>
  /** In the background. */
  forget(connectionId: string): void
}

/** Without Redis: what a process cannot write is lost with it. */
export const noJournal: TokenJournal = {
  keep: async () => undefined,
  find: async () => undefined,
  forget: () => undefined,
}

export const journalKey = (connectionId: string): string => `oauth:rotated:${connectionId}`

/** JSON. */
export const writeEntry = ({ version, tokens: { access, accessExpiresAt, refresh } }: JournalEntry): string =>
  JSON.stringify({ version, access, accessExpiresAt: accessExpiresAt.getTime(), refresh })

/** Undefined for anything that `writeEntry` did not write. */
export function readEntry(connectionId: string, text: string): JournalEntry | undefined {
  try {
    const { version, access, accessExpiresAt, refresh } = JSON.parse(text) as Record<string, unknown>
    if (typeof version !== 'string' || typeof access !== 'string' || typeof refresh !== 'string') return undefined
    if (typeof accessExpiresAt !== 'number' || !Number.isSafeInteger(accessExpiresAt)) return undefined
    return { connectionId, version, tokens: { access, accessExpiresAt: new Date(accessExpiresAt), refresh } }
  } catch {
    return undefined
  }
}
