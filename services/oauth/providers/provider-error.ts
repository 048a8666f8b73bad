/**
 * Why a provider did not do what it was asked. It says what to do about it and nothing else: an answer may hold tokens, and a provider's
 * text is not ours to repeat.
 */
import * as oauth from 'oauth4webapi'

export type ProviderFailure =
  /** An error of the protocol's, e.g. `invalid_grant` (RFC 6749, 5.2): asking again the same way changes nothing. */
  | { readonly kind: 'refused'; readonly code: string; readonly status: number }
  /** 429 or 5xx: later perhaps. */
  | { readonly kind: 'busy'; readonly status: number; readonly retryAfterMs: number | undefined }
  /** No answer within the time; whether it did anything is not known. */
  | { readonly kind: 'unreachable' }
  /** An answer that is none of the protocol's, or too long, or whose id_token does not hold. */
  | { readonly kind: 'unreadable' }
  /** An answer that another server gave (RFC 9207). */
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

/** RFC 6749, 5.2 and 4.1.2.1, RFC 7009, 2.2.1, OpenID Connect Core, 3.1.2.6. Anything else goes by `other`. */
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

/** A registered error code, or `other`: never what somebody wrote. */
export const registeredCode = (code: string): string => (registered.has(code) ? code : 'other')

/** What oauth4webapi threw, or the fetch under it. */
export function providerError(error: unknown): ProviderError {
  if (error instanceof oauth.ResponseBodyError) return answered(error.status, registeredCode(error.error), error.response)
  if (error instanceof oauth.WWWAuthenticateChallengeError) {
    const codes = error.cause.map(({ parameters }) => parameters.error).filter((code) => code !== undefined)
    return answered(error.status, registeredCode(codes[0] ?? 'invalid_client'), error.response)
  }
  // Its cause is the response, where it stopped at the status.
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

/** RFC 9110, 10.2.3, as seconds; a date, or more than an hour, counts as nothing said. */
function retryAfterMs(header: string | null): number | undefined {
  if (header === null || !/^\d{1,4}$/.test(header)) return undefined
  return Math.min(Number(header), 3600) * 1000
}
