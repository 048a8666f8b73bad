/**
 * The life of a claim, as pure steps: the current claim of a key, a request and the time determine the decision and the next claim. Every
 * store decides by these steps.
 *
 *             claim                  complete
 *   (free) ──────────► in flight ──────────────► completed ──── retention over ────► (free)
 *      ▲                │  ▲   │
 *      └─── release ────┘  └───┘ renew; claim, after the lease expired: a new token, the same run
 *
 * Invariants:
 * - One token holds a claim. Each grant to another attempt has a new token; from then on an older one changes nothing.
 * - An expired lease frees nothing by itself: the holder keeps the claim until another attempt takes it over.
 * - The run of a claim is the one of its first attempt, through every takeover.
 * - The service that keeps the runs may free a key whose run does not exist, once it has made sure that it never will (abandon).
 */

/** The identity of a claim. */
export interface ClaimKey {
  readonly workspace: string
  readonly kind: string
  readonly key: string
}

interface ClaimedKey {
  readonly fingerprint: Uint8Array
  readonly runId: string
  /** The attempt that holds the claim, or held it last. */
  readonly attemptId: string
  readonly token: string
  /** Whether the present grant took the claim over from another attempt. */
  readonly takenOver: boolean
}

/** Times are in milliseconds of the store's clock. */
export interface InFlight extends ClaimedKey {
  readonly state: 'in_flight'
  readonly leaseUntil: number
}

export interface Completed extends ClaimedKey {
  readonly state: 'completed'
  readonly completedAt: number
  readonly response: Uint8Array | undefined
}

/** The claim of a key; undefined if there is none. */
export type Claim = InFlight | Completed

/** The time of a step. */
export interface Clock {
  readonly now: number
  /** How long a completed claim is kept. */
  readonly retentionMs: number
}

/** If nothing changes, `next` is the claim that was given. */
export interface Step<Decision> {
  readonly answer: Decision
  readonly next: Claim | undefined
}

export interface ClaimRequest {
  /** Undefined: only look. */
  readonly fingerprint: Uint8Array | undefined
  /** Without a fingerprint: the fingerprint of the work that may not start now. Only compared. */
  readonly compare?: Uint8Array | undefined
  readonly attemptId: string
  readonly runId: string
  readonly leaseMs: number
  /** The token of a possible grant: never used before. */
  readonly token: string
}

export type Decision =
  | { readonly outcome: 'granted'; readonly token: string; readonly runId: string; readonly takenOver: boolean; readonly leaseMs: number }
  | { readonly outcome: 'completed'; readonly runId: string; readonly response: Uint8Array | undefined }
  | { readonly outcome: 'in_flight'; readonly runId: string; readonly retryAfterMs: number }
  | { readonly outcome: 'mismatch'; readonly runId: string }
  | { readonly outcome: 'absent' }

/** The result of a write that needs the grant; `stale`: the caller no longer holds the grant, and nothing changed. */
export type FencedResult = 'done' | 'stale'

export interface Renewal {
  readonly token: string
  readonly leaseMs: number
}

export interface Completion {
  readonly runId: string
  /** Undefined: the run is the proof. Then there is no response either. */
  readonly token: string | undefined
  readonly response: Uint8Array | undefined
}

/** Maximum time until a caller should ask again. */
const maxWaitMs = 1000

const stay = <A>(claim: Claim | undefined, answer: A): Step<A> => ({ answer, next: claim })

const grant = (claim: InFlight, now: number): Step<Decision> => {
  const { token, runId, takenOver, leaseUntil } = claim
  return { answer: { outcome: 'granted', token, runId, takenOver, leaseMs: Math.max(1, Math.floor(leaseUntil - now)) }, next: claim }
}

/** The claim, unless its retention is over. */
const standing = (claim: Claim | undefined, { now, retentionMs }: Clock): Claim | undefined =>
  claim?.state === 'completed' && claim.completedAt + retentionMs <= now ? undefined : claim

const sameBytes = (one: Uint8Array, other: Uint8Array): boolean => Buffer.compare(one, other) === 0

/** Asks for the work behind a key. */
export function claim(found: Claim | undefined, asked: ClaimRequest, at: Clock): Step<Decision> {
  const held = standing(found, at)
  const { fingerprint, attemptId, runId, token } = asked
  const leaseUntil = at.now + asked.leaseMs
  if (held === undefined) {
    if (fingerprint === undefined) return stay(found, { outcome: 'absent' })
    return grant({ state: 'in_flight', fingerprint, runId, attemptId, token, takenOver: false, leaseUntil }, at.now)
  }
  const given = fingerprint ?? asked.compare
  if (given !== undefined && !sameBytes(given, held.fingerprint)) return stay(found, { outcome: 'mismatch', runId: held.runId })
  if (held.state === 'completed') return stay(found, { outcome: 'completed', runId: held.runId, response: held.response })
  if (fingerprint !== undefined) {
    const live = held.leaseUntil > at.now
    // An attempt that repeats its claim lost the reply: it gets the same grant, with the rest of the lease.
    if (held.attemptId === attemptId) return grant(live ? held : { ...held, leaseUntil }, at.now)
    if (!live) return grant({ ...held, attemptId, token, takenOver: true, leaseUntil }, at.now)
  }
  const left = Math.ceil(held.leaseUntil - at.now)
  return stay(found, { outcome: 'in_flight', runId: held.runId, retryAfterMs: left > 0 ? Math.min(left, maxWaitMs) : maxWaitMs })
}

/** Extends the lease; never shortens it. */
export function renew(found: Claim | undefined, { token, leaseMs }: Renewal, at: Clock): Step<FencedResult> {
  if (found?.state !== 'in_flight' || found.token !== token) return stay(found, 'stale')
  return { answer: 'done', next: { ...found, leaseUntil: Math.max(found.leaseUntil, at.now + leaseMs) } }
}

/** Ends the work. The first completion counts: a repetition changes neither the time nor the response. */
export function complete(found: Claim | undefined, { runId, token, response }: Completion, at: Clock): Step<FencedResult> {
  const held = standing(found, at)
  const fenced = token !== undefined
  if (held === undefined || held.runId !== runId || (fenced && held.token !== token)) return stay(found, fenced ? 'stale' : 'done')
  if (held.state === 'completed') return stay(found, 'done')
  const { leaseUntil: _, ...rest } = held
  return { answer: 'done', next: { ...rest, state: 'completed', completedAt: at.now, response } }
}

/** Returns the grant: the key is free. If the claim is already gone, there is nothing to do. */
export function release(found: Claim | undefined, token: string, at: Clock): Step<FencedResult> {
  const held = standing(found, at)
  if (held === undefined) return stay(found, 'done')
  if (held.state !== 'in_flight' || held.token !== token) return stay(found, 'stale')
  return { answer: 'done', next: undefined }
}

/** Frees the key of a run that does not exist and never will, whichever attempt held it last. */
export function abandon(found: Claim | undefined, runId: string): Step<FencedResult> {
  return found?.state === 'in_flight' && found.runId === runId ? { answer: 'done', next: undefined } : stay(found, 'done')
}
