/** The meaning of a failed refresh for its connection (RFC 6749, section 5.2), and when to retry. Pure. */
import type { ProviderFailure } from '../providers/provider-error.ts'
import { doublingMs } from '#mesh/backoff.ts'

export type Outcome =
  /** The grant has ended: only its owner can give another. */
  | { readonly what: 'reauth'; readonly reason: ReauthReason }
  /** This installation is not accepted, whatever the connection: an operator must look. */
  | { readonly what: 'invalid_client'; readonly code: string }
  /** Temporary. */
  | { readonly what: 'later'; readonly why: Why; readonly retryAfterMs?: number | undefined }

type Why = 'rate_limited' | 'server_error' | 'unreachable' | 'unreadable' | 'issuer_mismatch' | 'other'

export type ReauthReason = 'GRANT_ENDED' | 'INTERACTION_REQUIRED' | 'NO_REFRESH_TOKEN'

/** Codes of an ended grant; all but the first are OpenID's (Connect Core, 3.1.2.6), and Microsoft returns them here. */
const ended: Readonly<Record<string, ReauthReason>> = {
  invalid_grant: 'GRANT_ENDED',
  interaction_required: 'INTERACTION_REQUIRED',
  login_required: 'INTERACTION_REQUIRED',
  consent_required: 'INTERACTION_REQUIRED',
}

/** Codes of a wrong client: its secret, its registration, or its request. */
const ours: ReadonlySet<string> = new Set([
  'invalid_client',
  'unauthorized_client',
  'invalid_request',
  'unsupported_grant_type',
  'invalid_scope',
])

/** A connection is given up only on a code that says so: an overloaded or broken server, or another one in front of it, decides nothing. */
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
  // RFC 6749 uses 401 only for a client that failed to authenticate.
  if (status === 401) return { what: 'invalid_client', code: 'invalid_client' }
  return { what: 'later', why: 'other' }
}

const firstMs = 1000
const maxMs = 5 * 60_000
/** A provider that asks for more is called again after this. */
const maxRetryAfterMs = 3_600_000

/**
 * How long to leave the provider alone after the `failures`-th failure in a row: 1 s, doubling up to 5 min, half of it random, so that not
 * all return at once; and never less than the provider asked for. `random` is from 0 to 1.
 */
export function restMs(failures: number, retryAfterMs: number | undefined, random: number): number {
  const max = doublingMs(failures, firstMs, maxMs)
  const asked = Math.min(Math.max(0, retryAfterMs ?? 0), maxRetryAfterMs)
  return Math.ceil(Math.max(max * (0.5 + random / 2), asked + random * Math.min(max, 1000)))
}
