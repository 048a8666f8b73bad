/**
 * Why a provider did not do what was requested, and therefore what to do about it. Nothing else, because a response may contain tokens, and
 * a provider's text must not be repeated.
 */
import * as oauth from 'oauth4webapi'

export type ProviderFailure =
  /** An error of the protocol, e.g. `invalid_grant` (RFC 6749, 5.2): the same request would fail again. */
  | { readonly kind: 'refused'; readonly code: string; readonly status: number }
  /** 429 or 5xx: perhaps later. */
  | { readonly kind: 'busy'; readonly status: number; readonly retryAfterMs: number | undefined }
  /** No response in time; whether it did anything is unknown. */
  | { readonly kind: 'unreachable' }
  /** A response outside the protocol, too long, or with an invalid id_token. */
  | { readonly kind: 'unreadable' }
  /** A response of another server (RFC 9207). */
  | { readonly kind: 'foreign' }

export class ProviderError extends Error {
  override readonly name = 'ProviderError'
  readonly failure: ProviderFailure

  constructor(failure: ProviderFailure) {
    super(`The provider's answer: ${failure.kind}${failure.kind === 'refused' ? ` (${failure.code})` : ''}`)
    this.failure = failure
  }
}

export const ownError = (kind: 'unreachable' | 'unreadable' | 'foreign'): ProviderError => new ProviderError({ kind })

/** RFC 6749, 5.2 and 4.1.2.1, RFC 7009, 2.2.1, OpenID Connect Core, 3.1.2.6. Anything else becomes `other`. */
const registered = new Set([
  'access_denied',
  'account_selection_required',
  'consent_required',
  'interaction_required',
  'invalid_client',
  'invalid_grant',
  'invalid_request',
  'invalid_scope',
  'login_required',
  'server_error',
  'temporarily_unavailable',
  'unauthorized_client',
  'unsupported_grant_type',
  'unsupported_response_type',
  'unsupported_token_type',
])

/** A registered error code, or `other`: never foreign text. */
export const registeredCode = (code: string): string => (registered.has(code) ? code : 'other')

/** Errors of oauth4webapi, or of the fetch under it. */
export function providerError(error: unknown): ProviderError {
  if (error instanceof oauth.ResponseBodyError) return answered(error.status, registeredCode(error.error), error.response)
  if (error instanceof oauth.WWWAuthenticateChallengeError) {
    const codes = error.cause.map(({ parameters }) => parameters.error).filter((code) => code !== undefined)
    return answered(error.status, registeredCode(codes[0] ?? 'invalid_client'), error.response)
  }
  // Its cause is the response, if it stopped at the status.
  if (error instanceof oauth.OperationProcessingError && error.cause instanceof Response) {
    const { status } = error.cause
    if (status === 429 || status >= 500) return answered(status, 'other', error.cause)
  }
  return ownError('unreadable')
}

function answered(status: number, code: string, response: Response): ProviderError {
  const busy = status === 429 || status >= 500 || code === 'temporarily_unavailable' || code === 'server_error'
  if (!busy) return new ProviderError({ kind: 'refused', code, status })
  return new ProviderError({ kind: 'busy', status, retryAfterMs: retryAfterMs(response.headers.get('retry-after')) })
}

/** RFC 9110, 10.2.3, in seconds; a date, or more than an hour, counts as absent. */
function retryAfterMs(header: string | null): number | undefined {
  if (header === null || !/^\d{1,4}$/.test(header)) return undefined
  return Math.min(Number(header), 3600) * 1000
}
