/** What holds for every token of the mesh (JWT, RFC 7519 and 8725): Ed25519 alone, one audience, short lives, clocks a little apart. */
import { type JWTPayload, type JWTVerifyGetKey, type JWTVerifyResult, errors, jwtVerify } from 'jose'

/** How long a token may live, in seconds. */
export const maxLifetimeS = 300
/** How far the clocks of two machines may be apart, in seconds. */
const toleranceS = 5
/** No token of ours comes near it. */
const maxTokenLength = 4096
/** The compact form (RFC 7515) as it is written, without what a lenient decoder would read over: one token is not many texts. */
const compact = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/

export interface TokenKind {
  /** The header's typ: a token of one kind is none of another. */
  typ: string
  issuer?: string
  audience: string
}

/** A payload that was signed, for us, and is within its time. */
export interface Claims extends JWTPayload {
  iat: number
  exp: number
}

/** The claims of a token that proves them; undefined for any other text. Rejects with what `keyOf` throws beyond jose's own errors. */
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
  // For us alone, and with an end that it was given, not only the one that we would give it.
  if (iat === undefined || exp === undefined || aud !== kind.audience || exp - iat > maxLifetimeS) return undefined
  return { ...verified.payload, iat, exp }
}

/** The moment from which such a token proves nothing, in epoch milliseconds. */
export const endOf = ({ exp }: Claims): number => (exp + toleranceS) * 1000

/**
 * Whether a claim is a text that may stand in logs, keys and queries. Its length is that of the contracts (max_len): in characters, of which
 * some take two UTF-16 units.
 */
export const isName = (claim: unknown, longest: number): claim is string =>
  typeof claim === 'string' && claim.length > 0 && claim.length <= 2 * longest && [...claim].length <= longest
