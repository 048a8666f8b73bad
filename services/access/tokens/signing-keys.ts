/**
 * The life of a signing key, without I/O:
 *
 *   made ── 10 s ──► signs ── until the next signs ──► published only ── until its last token has ended ──► gone
 *
 * A key is published from the moment it is made, so that every verifier knows it before the first token of it is about; the very first
 * signs at once, since nothing else can. All there is to know is when each began to sign: the rest follows from the one after it.
 *
 * Whoever signs must have read the keys within the last 10 s (`leadMs`): a key that was made since then does not sign yet.
 *
 * Times are epoch milliseconds by the clock of the database.
 */

/** How long a key is published before it signs. */
export const leadMs = 10_000
/** No token lives longer. */
export const maxTokenMs = 5 * 60_000
/** What clocks and verifiers may be late by. */
const graceMs = 30_000

/** How long after a moment a token of it may still be believed. */
export const believedMs = maxTokenMs + graceMs

export interface Signing {
  readonly kid: string
  readonly signsFrom: number
}

/** The keys in the order in which they sign; of two at one moment every replica takes the same for the later. */
const inOrder = <Key extends Signing>(keys: readonly Key[]): Key[] =>
  keys.toSorted((a, b) => a.signsFrom - b.signsFrom || (a.kid < b.kid ? -1 : 1))

/** The one that signs now; undefined before there is any. */
export const signerOf = <Key extends Signing>(keys: readonly Key[], now: number): Key | undefined =>
  inOrder(keys).findLast(({ signsFrom }) => signsFrom <= now)

/** Those that sign now or will: whoever signs needs their private halves. */
export function signersToCome<Key extends Signing>(keys: readonly Key[], now: number): Key[] {
  const signer = signerOf(keys, now)
  return keys.filter((key) => key === signer || key.signsFrom > now)
}

/** Those that a living token may be signed with, or soon will be. */
export function publishedOf<Key extends Signing>(keys: readonly Key[], now: number): Key[] {
  const ordered = inOrder(keys)
  return ordered.filter((_, place) => {
    const next = ordered[place + 1]
    return next === undefined || now <= next.signsFrom + believedMs
  })
}

/** Whether a successor must be made now, so that it signs when the newest has signed for `lifetimeMs`. */
export function isDue(keys: readonly Signing[], now: number, lifetimeMs: number): boolean {
  const newest = inOrder(keys).at(-1)
  return newest === undefined || now >= newest.signsFrom + lifetimeMs - leadMs
}

/** From when a key signs that is made now. */
export const signsFromOf = (keys: readonly Signing[], now: number): number => (keys.length === 0 ? now : now + leadMs)
