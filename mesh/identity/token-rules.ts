/** The rules of every token of the mesh (JWT, RFC 7519 and 8725): Ed25519 only, one audience, short lives, small clock differences. */
import { type JWTPayload, type JWTVerifyGetKey, type JWTVerifyResult, errors, jwtVerify } from 'jose'

/** Maximum lifetime of a token, in seconds. */
export const maxLifetimeS = 300
/** Maximum difference of the clocks of two machines, in seconds. */
const toleranceS = 5
/** No token of ours is nearly as long. */
const maxTokenLength = 4096
/** The strict compact form (RFC 7515), without what a lenient decoder would ignore: one token has one spelling. */
const compact = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/

export interface TokenKind {
  /** The header's typ: a token of one kind is not valid as another. */
  typ: string
  issuer?: string
  audience: string
}

/** A payload that was signed, for us, and is within its time. */
export interface Claims extends JWTPayload {
  iat: number
  exp: number
}

/** The claims of a valid token; undefined for any other text. Rejects with errors that `keyOf` throws beyond jose's own. */
export async function claimsOf(token: string, kind: TokenKind, keyOf: JWTVerifyGetKey, nowMs: number): Promise<Claims | undefined> {
  if (token.length > maxTokenLength || !compact.test(token)) return undefined
  let verified: JWTVerifyResult
  try {
    verified = await jwtVerify(token, keyOf, {
      ...kind,
      algorithms: ['EdDSA'],
      requiredClaims: ['iat', 'exp'],
      maxTokenAge: maxLifetimeS,
      clockTolerance: toleranceS,
      currentDate: new Date(nowMs),
    })
  } catch (error) {
    if (error instanceof errors.JOSEError) return undefined
    throw error
  }
  const { iat, exp, aud } = verified.payload
  // Only for us, and with its own expiry, not only the one that we would give it.
  if (iat === undefined || exp === undefined || aud !== kind.audience || exp - iat > maxLifetimeS) return undefined
  return { ...verified.payload, iat, exp }
}

/** When such a token stops being valid, in epoch milliseconds. */
export const endOf = ({ exp }: Claims): number => (exp + toleranceS) * 1000

/**
 * Whether a claim is a text that is safe in logs, keys and queries. Its length is that of the contracts (max_len): in characters, of which
 * some take two UTF-16 units.
 */
export const isName = (claim: unknown, longest: number): claim is string =>
  typeof claim === 'string' && claim.length > 0 && claim.length <= 2 * longest && [...claim].length <= longest
