/**
 * The one family of errors that leaves a process. A service declares its own in a closed table:
 *
 *   export const errors = errorTable('idempotency', {
 *     STALE_TOKEN: { code: 'FAILED_PRECONDITION', message: 'The grant is no longer held.' },
 *   })
 *   throw errors.STALE_TOKEN()
 *
 * On the wire it is google.rpc.Status with ErrorInfo, BadRequest and RetryInfo (mesh/grpc/status.ts); in HTTP it is a problem
 * document (mesh/problem.ts).
 */

/** gRPC status codes by name, https://grpc.io/docs/guides/status-codes/. */
export const codes = {
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const

export type Code = keyof typeof codes

/** One problem with one field of a request; `field` is a path like `params.url`. */
export interface FieldViolation {
  field: string
  description: string
}

/** Maximum violations per error: a request can have more of them than an error has space for. */
export const maxViolations = 20
/** Maximum characters of one field or description, and of a whole message: they quote what the client wrote. */
const maxQuoted = 256
const maxMessage = 2000

export const shortened = (text: string, max = maxQuoted): string =>
  text.length <= max ? text : `${text.slice(0, max - 1)}…`.toWellFormed()

/** Collects the violations of a request: the first ones, and their total number. */
export class Violations {
  readonly listed: FieldViolation[] = []
  count = 0

  add(field: string, description: string): void {
    this.count += 1
    if (this.listed.length < maxViolations) this.listed.push({ field: shortened(field), description: shortened(description) })
  }
}

/** The details of an error beside its reason. All of them are public. */
export interface ErrorDetails {
  /** Replaces the table's sentence with a more specific one. */
  message?: string
  violations?: readonly FieldViolation[]
  /** The total number, if it exceeds the list in `violations`. */
  violationCount?: number
  /** When to retry, in milliseconds. */
  retryAfterMs?: number
  /** Short machine-readable facts, e.g. the run_id of a conflict. */
  metadata?: Record<string, string>
  /** The cause: logged, never sent. */
  cause?: unknown
}

export class MeshError extends Error {
  override readonly name = 'MeshError'
  /** The table that it is from: a service's name, "mesh" or "gateway". */
  readonly domain: string
  readonly reason: string
  readonly code: Code
  /** The first of them, shortened. */
  readonly violations: readonly FieldViolation[]
  /** The number of violations, listed or not. */
  readonly violationCount: number
  readonly retryAfterMs: number | undefined
  readonly metadata: Readonly<Record<string, string>>

  constructor(domain: string, reason: string, code: Code, message: string, details: ErrorDetails = {}) {
    super(shortened(details.message ?? message, maxMessage), details.cause === undefined ? undefined : { cause: details.cause })
    this.domain = domain
    this.reason = reason
    this.code = code
    const { violations = [] } = details
    this.violations = violations
      .slice(0, maxViolations)
      .map(({ field, description }) => ({ field: shortened(field), description: shortened(description) }))
    this.violationCount = Math.max(violations.length, details.violationCount ?? 0)
    this.retryAfterMs = details.retryAfterMs
    this.metadata = details.metadata ?? {}
  }
}

/** Whether another attempt may succeed, by the code alone. */
export const isUnavailable = (error: unknown): error is MeshError => error instanceof MeshError && error.code === 'UNAVAILABLE'

/** The message for a listing of so many violations. */
export function messageListing({ message, violationCount }: MeshError, listed: number): string {
  const more = violationCount - listed
  if (listed === 0 || more <= 0) return message
  return `${message} ${more} more ${more === 1 ? 'field is' : 'fields are'} wrong and not listed.`
}

export interface ErrorRow {
  code: Code
  /** The public sentence: what is wrong and, if possible, what to do. */
  message: string
}

export type ErrorTable<Rows extends Record<string, ErrorRow>> = {
  readonly [Reason in keyof Rows]: (details?: ErrorDetails) => MeshError
} & { readonly domain: string; readonly rows: Rows }

/** Builds a closed table: one function per reason, which creates the error (the caller throws it). */
export function errorTable<const Rows extends Record<string, ErrorRow>>(domain: string, rows: Rows): ErrorTable<Rows> {
  const make = Object.entries(rows).map(([reason, row]) => [
    reason,
    (details?: ErrorDetails) => new MeshError(domain, reason, row.code, row.message, details),
  ])
  return Object.freeze({ ...Object.fromEntries(make), domain, rows }) as ErrorTable<Rows>
}

/** Errors that any process of the mesh may return. */
export const meshErrors = errorTable('mesh', {
  INVALID_REQUEST: { code: 'INVALID_ARGUMENT', message: 'The request is not valid.' },
  UNAUTHENTICATED: { code: 'UNAUTHENTICATED', message: 'No valid credentials: send Authorization: Bearer <API key>.' },
  PERMISSION_DENIED: { code: 'PERMISSION_DENIED', message: 'The caller may not do this.' },
  DEPENDENCY_UNAVAILABLE: { code: 'UNAVAILABLE', message: 'A required service does not respond. Retry shortly.' },
  DEADLINE_EXCEEDED: { code: 'DEADLINE_EXCEEDED', message: 'The request took longer than its deadline.' },
  DEADLINE_TOO_SHORT: { code: 'DEADLINE_EXCEEDED', message: 'The deadline left too little time to start; nothing was done.' },
  CANCELLED: { code: 'CANCELLED', message: 'The caller cancelled the request.' },
  SHUTTING_DOWN: { code: 'UNAVAILABLE', message: 'This process is shutting down; nothing was done. Retry at once.' },
  OVERLOADED: { code: 'RESOURCE_EXHAUSTED', message: 'The server is overloaded; nothing was done. Retry shortly.' },
  UNIMPLEMENTED: { code: 'UNIMPLEMENTED', message: 'There is no such method.' },
  INTERNAL: { code: 'INTERNAL', message: 'An internal error occurred. The log has it under this request id.' },
})
