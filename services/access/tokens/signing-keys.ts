/**
 * The life of a signing key, without I/O:
 *
 *   created ── 10 s ──► signs ── until the next signs ──► published only ── until its last token has expired ──► removed
 *
 * A key is published as soon as it is created, so that every verifier knows it before its first token exists. The very first key signs at
 * once, because no other can. The only stored fact is when each began to sign; everything else follows from its successor.
 *
 * A replica signs only if it read the keys within the last 10 s (`leadMs`): a key created since then does not sign yet.
 *
 * Times are epoch milliseconds by the clock of the database.
 */

/** How long a key is published before it signs. */
export const leadMs = 10_000
/** Maximum lifetime of a token. */
export const maxTokenMs = 5 * 60_000
/** Allowance for clock skew and late verifiers. */
const graceMs = 30_000

/** How long after its signing a token may still be accepted. */
export const acceptedMs = maxTokenMs + graceMs

export interface Signing {
  readonly kid: string
  readonly signsFrom: number
}

/** The keys in the order in which they sign; all replicas order two of the same moment alike. */
const inOrder = <Key extends Signing>(keys: readonly Key[]): Key[] =>
  keys.toSorted((a, b) => a.signsFrom - b.signsFrom || (a.kid < b.kid ? -1 : 1))

/** The key that signs now; undefined before there is any. */
export const signerOf = <Key extends Signing>(keys: readonly Key[], now: number): Key | undefined =>
  inOrder(keys).findLast(({ signsFrom }) => signsFrom <= now)

/** The keys that sign now or later: a signer needs their private halves. */
export function futureSigners<Key extends Signing>(keys: readonly Key[], now: number): Key[] {
  const signer = signerOf(keys, now)
  return keys.filter((key) => key === signer || key.signsFrom > now)
}

/** The keys that may have signed a valid token, or soon will. */
export function publishedOf<Key extends Signing>(keys: readonly Key[], now: number): Key[] {
  const ordered = inOrder(keys)
  return ordered.filter((_, place) => {
    const next = ordered[place + 1]
    return next === undefined || now <= next.signsFrom + acceptedMs
  })
}

/** Whether a successor must be created now, so that it signs when the newest has signed for `lifetimeMs`. */
export function isDue(keys: readonly Signing[], now: number, lifetimeMs: number): boolean {
  const newest = inOrder(keys).at(-1)
  return newest === undefined || now >= newest.signsFrom + lifetimeMs - leadMs
}

/** The time from which a key signs that is created now. */
export const signsFromOf = (keys: readonly Signing[], now: number): number => (keys.length === 0 ? now : now + leadMs)
