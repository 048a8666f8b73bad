/**
 * MeshError → HTTP, the only such mapping: a problem document (RFC 9457) with its status and headers.
 *
 * A reason with a particular meaning in HTTP has its own status; every other follows its gRPC code.
 */
import { type Code, type MeshError, codes, messageListing } from './errors.ts'

/** A Map: reasons come from other processes, and `constructor` is not a row. */
const statusByReason: ReadonlyMap<string, number> = new Map([
  // The request was understood and is well-formed; it cannot be done.
  ['KEY_REUSED', 422],
  ['TARGET_REFUSED', 422],
  // Not an unimplemented RPC, but an unimplemented HTTP method.
  ['METHOD_NOT_ALLOWED', 405],
  ['REQUEST_TIMEOUT', 408],
  ['BODY_TOO_LARGE', 413],
  ['URL_TOO_LONG', 414],
  ['UNSUPPORTED_MEDIA_TYPE', 415],
  ['HEADERS_TOO_LARGE', 431],
  // The process is overloaded, whoever calls; 429 would tell this caller to slow down.
  ['OVERLOADED', 503],
])

/** As in https://cloud.google.com/apis/design/errors#handling_errors; but FAILED_PRECONDITION conflicts with the current state: 409. */
const statusByCode: Readonly<Record<Code, number>> = {
  INVALID_ARGUMENT: 400,
  OUT_OF_RANGE: 400,
  UNAUTHENTICATED: 401,
  PERMISSION_DENIED: 403,
  NOT_FOUND: 404,
  ABORTED: 409,
  ALREADY_EXISTS: 409,
  FAILED_PRECONDITION: 409,
  RESOURCE_EXHAUSTED: 429,
  // nginx's number for a client that has closed the connection: only logs show it.
  CANCELLED: 499,
  INTERNAL: 500,
  UNKNOWN: 500,
  DATA_LOSS: 500,
  UNIMPLEMENTED: 501,
  UNAVAILABLE: 503,
  DEADLINE_EXCEEDED: 504,
}

/** Statuses that say when to retry even if the error does not. */
const alwaysRetryAfter = new Set([429, 503])
const defaultRetryMs = 1000

export interface Problem {
  status: number
  headers: Readonly<Record<string, string>>
  /** The JSON text. */
  body: string
}

export const problemType = 'application/problem+json; charset=utf-8'

/** The HTTP status of a reason. An unknown gRPC code counts as UNKNOWN. */
export function statusOf(error: { reason: string; code: Code }): number {
  return statusByReason.get(error.reason) ?? statusByCode[Object.hasOwn(codes, error.code) ? error.code : 'UNKNOWN']
}

export function toProblem(error: MeshError, requestId: string): Problem {
  const status = statusOf(error)
  const members: Record<string, unknown> = {
    type: `/docs#${error.reason}`,
    title: title(error.reason),
    status,
    detail: messageListing(error, error.violations.length),
    reason: error.reason,
    request_id: requestId,
  }
  if (error.violations.length > 0) members.violations = error.violations.map(({ field, description }) => ({ field, description }))
  for (const [name, value] of Object.entries(error.metadata)) {
    if (!Object.hasOwn(members, name)) members[name] = value
  }
  const headers: Record<string, string> = { 'content-type': problemType }
  // RFC 9110, 15.5.2: every 401 says how to authenticate.
  if (status === 401) headers['www-authenticate'] = 'Bearer realm="relay"'
  const retryAfterMs = error.retryAfterMs ?? (alwaysRetryAfter.has(status) || error.reason === 'IN_PROGRESS' ? defaultRetryMs : undefined)
  if (retryAfterMs !== undefined) headers['retry-after'] = String(Math.max(1, Math.ceil(retryAfterMs / 1000)))
  return { status, headers, body: JSON.stringify(members) }
}

/** KEY_REUSED → Key reused */
function title(reason: string): string {
  const words = reason.toLowerCase().replaceAll('_', ' ')
  return words.charAt(0).toUpperCase() + words.slice(1)
}
