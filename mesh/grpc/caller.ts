/** Callers: outside callers by token, services of the mesh by their own proof. A method's contract says what it requires. */

/** An authenticated caller from outside. */
export interface Caller {
  readonly workspace: string
  readonly actor: string
  /** The id of the API key. */
  readonly keyId: string
  /** When that key expires, in epoch milliseconds; undefined if never. */
  readonly keyExpiresAtMs?: number | undefined
  may(permission: string): boolean
}

/**
 * Identifies callers and peers by their credentials, synchronously for credentials that it has seen. Undefined: not valid. Throws, or
 * rejects with, DEPENDENCY_UNAVAILABLE if it cannot decide.
 */
export interface Verifier {
  caller(token: string): Caller | undefined | Promise<Caller | undefined>
  /** The name of the service that the token proves. */
  peer(token: string): string | undefined | Promise<string | undefined>
}

/** The proof of our name for one service of the mesh (`idempotency` is that of relay.idempotency.v1). */
export type PeerToken = (service: string) => string | Promise<string>

/**
 * Whether a peer is a service of the mesh. Envoy is not: over mTLS it forwards requests of anyone. It may call methods that name it, and
 * none that are for any service.
 */
export const isService = (peer: string): boolean => peer !== 'envoy'

const scheme = 'bearer '
/** Without the flag for case-insensitive matching, which makes it ten times as slow for a token. */
const afterScheme = /^ *([A-Za-z0-9._~+/=-]{1,4096})$/

/** The token of an `Authorization: Bearer …` value (RFC 6750; the scheme in any case, RFC 9110); undefined for any other. */
export function bearerToken(header: string | undefined): string | undefined {
  if (header === undefined || header.slice(0, scheme.length).toLowerCase() !== scheme) return undefined
  return afterScheme.exec(header.slice(scheme.length))?.[1]
}
