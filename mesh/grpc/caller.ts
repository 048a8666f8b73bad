/** Who is calling: outside callers by a token, services of the mesh by their own. What a method wants of them stands in its contract. */

/** An authenticated caller from outside. */
export interface Caller {
  readonly workspace: string
  readonly actor: string
  /** Which key it signed in with. */
  readonly keyId: string
  /** When that key expires, in epoch milliseconds; undefined where it never does. */
  readonly keyExpiresAtMs?: number | undefined
  may(permission: string): boolean
}

/**
 * Tells callers and peers by what they show, at once for what it has seen before. Undefined: not known. Throws, or rejects with,
 * DEPENDENCY_UNAVAILABLE where it cannot tell.
 */
export interface Verifier {
  caller(token: string): Caller | undefined | Promise<Caller | undefined>
  /** The name of the service that the token proves. */
  peer(token: string): string | undefined | Promise<string | undefined>
}

/** What we show a service of the mesh (`idempotency` is that of relay.idempotency.v1) to prove our name to it alone. */
export type PeerToken = (service: string) => string | Promise<string>

/**
 * Whether a peer is a service of the mesh. Envoy is none: over mTLS the requests that it lets through come from it too, and are anybody's.
 * It may call what names it, and nothing that is for any service.
 */
export const isService = (peer: string): boolean => peer !== 'envoy'

const scheme = 'bearer '
/** Without the flag that makes a pattern blind to case: on a token, that costs ten times as much. */
const afterScheme = /^ *([A-Za-z0-9._~+/=-]{1,4096})$/

/** The token of an `Authorization: Bearer …` value (RFC 6750; the scheme in any case, RFC 9110); undefined for any other. */
export function bearerToken(header: string | undefined): string | undefined {
  if (header === undefined || header.slice(0, scheme.length).toLowerCase() !== scheme) return undefined
  return afterScheme.exec(header.slice(scheme.length))?.[1]
}
