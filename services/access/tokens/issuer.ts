/** Caller tokens: the signed identity and permissions of a caller, which every service verifies by itself. */
import { SignJWT } from 'jose'
import type { KeyRing } from './key-ring.ts'
import { maxTokenMs } from './signing-keys.ts'

/** The caller that a token describes. */
export interface Bearer {
  readonly workspace: string
  readonly actor: string
  readonly keyId: string
  readonly permissions: readonly string[]
  /** The remaining lifetime of the key, in milliseconds; undefined if it does not expire. */
  readonly expiresInMs: number | undefined
}

export interface IssuedToken {
  /** A JWT (RFC 7519) signed with Ed25519 (RFC 8037). */
  readonly token: string
  readonly expiresAt: Date
  readonly expiresInMs: number
}

export interface IssuerParts {
  ring: Pick<KeyRing, 'signer'>
  /** The lifetime of tokens; at most five minutes. */
  ttlMs: number
  /** Epoch milliseconds, because verifiers use their own clocks. */
  now?: () => number
}

export type Issue = (bearer: Bearer) => Promise<IssuedToken>

export function issuer({ ring, ttlMs, now = Date.now }: IssuerParts): Issue {
  return async ({ workspace, actor, keyId, permissions, expiresInMs = Infinity }) => {
    const { kid, privateKey } = await ring.signer()
    const at = now()
    // JWTs count whole seconds: rounded down, so that no token outlives its key.
    const exp = Math.floor((at + Math.min(ttlMs, maxTokenMs, expiresInMs)) / 1000)
    const kexp = expiresInMs === Infinity ? undefined : Math.floor((at + expiresInMs) / 1000)
    const token = await new SignJWT({ ws: workspace, key: keyId, ...(kexp !== undefined && { kexp }), perms: [...permissions] })
      .setProtectedHeader({ alg: 'EdDSA', kid, typ: 'relay-caller+jwt' })
      .setIssuer('relay-access')
      .setAudience('relay-mesh')
      .setSubject(actor)
      .setIssuedAt(Math.floor(at / 1000))
      .setExpirationTime(exp)
      .sign(privateKey)
    return { token, expiresAt: new Date(exp * 1000), expiresInMs: Math.max(0, exp * 1000 - at) }
  }
}
