/** What it means for a connection that a refresh failed (RFC 6749, section 5.2), and when to ask again. Pure. */
import type { ProviderFailure } from '../providers/provider-error.ts'
import { doublingMs } from '#mesh/backoff.ts'

export type Outcome =
  /** The grant has ended: only its owner can give another. */
  | { readonly what: 'reauth'; readonly reason: ReauthReason }
  /** This installation is not accepted, whatever the connection: its operator has to look. */
  | { readonly what: 'invalid_client'; readonly code: string }
  /** Not now. */
  | { readonly what: 'later'; readonly why: Why; readonly retryAfterMs?: number | undefined }

type Why = 'rate_limited' | 'server_error' | 'unreachable' | 'unreadable' | 'issuer_mismatch' | 'other'

export type ReauthReason = 'GRANT_ENDED' | 'INTERACTION_REQUIRED' | 'NO_REFRESH_TOKEN'

/** Codes that say that the grant has ended; all but the first are OpenID's (Connect Core, 3.1.2.6), and Microsoft answers them here. */
const ended: Readonly<Record<string, ReauthReason>> = {
  invalid_grant: 'GRANT_ENDED',
  interaction_required: 'INTERACTION_REQUIRED',
  login_required: 'INTERACTION_REQUIRED',
  consent_required: 'INTERACTION_REQUIRED',
}

/** Those that say that the client is wrong: its secret, its registration, or how it asks. */
const ours: ReadonlySet<string> = new Set([
  'invalid_client',
  'unauthorized_client',
  'invalid_request',
  'unsupported_grant_type',
  'invalid_scope',
])

/**
 * A connection is given up only on a code that says so: a server that is overloaded or broken, or whoever answers in front of it, decides
 * nothing.
 */
export function outcomeOf(failure: ProviderFailure): Outcome {
  if (failure.kind === 'busy') {
    const { status, retryAfterMs } = failure
    return { what: 'later', why: status === 429 ? 'rate_limited' : 'server_error', retryAfterMs }
  }
  if (failure.kind === 'foreign') return { what: 'later', why: 'issuer_mismatch' }
  if (failure.kind !== 'refused') return { what: 'later', why: failure.kind }
  const { code, status } = failure
  const reason = Object.hasOwn(ended, code) ? ended[code] : undefined
  if (reason !== undefined) return { what: 'reauth', reason }
  if (ours.has(code)) return { what: 'invalid_client', code }
  // RFC 6749 has 401 for a client that failed to say who it is, and for nothing else.
  if (status === 401) return { what: 'invalid_client', code: 'invalid_client' }
  return { what: 'later', why: 'other' }
}

const firstMs = 1000
const maxMs = 5 * 60_000
/** A provider that asks for more is asked again after this. */
const maxRetryAfterMs = 3_600_000

/**
 * How long to leave the provider alone after the `failures`-th failure in a row: 1 s, doubling up to 5 min, of which half is by chance, so
 * that not all come back at once; and never less than the provider asked for. `random` is from 0 to 1.
 */
export function restMs(failures: number, retryAfterMs: number | undefined, random: number): number {
  const max = doublingMs(failures, firstMs, maxMs)
  const asked = Math.min(Math.max(0, retryAfterMs ?? 0), maxRetryAfterMs)
  return Math.ceil(Math.max(max * (0.5 + random / 2), asked + random * Math.min(max, 1000)))
}
