/** Who is calling: outside callers by a token, services of the mesh by their own. What a method wants of them stands in its contract. */
import { createHmac, hash, timingSafeEqual } from 'node:crypto'

/** An authenticated caller from outside. */
export interface Caller {
  readonly workspace: string
  readonly actor: string
  /** Which key it signed in with. */
  readonly keyId: string
  may(permission: string): boolean
}

/** Tells callers and peers by what they show. Undefined: not known. */
export interface Verifier {
  caller(token: string): Caller | undefined | Promise<Caller | undefined>
  /** The name of the service that the token proves. */
  peer(token: string): string | undefined
}

/** What a service shows the others to prove its name. */
export type PeerToken = () => string

export interface StaticKeys {
  /** The one API key that is accepted. */
  key: string
  workspace: string
  actor: string
  /** Shared by the services of one mesh; never given to callers. */
  peerSecret: string
}

/**
 * One key from configuration that may do everything in one workspace, and one secret among the services: what the mesh runs on until there
 * is an access service. Compared by hash, in constant time.
 */
export function staticVerifier(keys: StaticKeys): Verifier {
  const digest = (text: string) => hash('sha256', text, 'buffer')
  const expected = digest(keys.key)
  const caller: Caller = Object.freeze({ workspace: keys.workspace, actor: keys.actor, keyId: 'static', may: () => true })
  // Only tokens that were right are kept, one a service and the key. A map's look-up compares hashes first, so that its time says nothing
  // of how much of a wrong token is right.
  const callers = new Map<string, Caller>()
  const known = new Map<string, string>()
  return {
    caller(token) {
      const cached = callers.get(token)
      if (cached !== undefined) return cached
      if (!timingSafeEqual(digest(token), expected)) return undefined
      callers.set(token, caller)
      return caller
    },
    peer(token) {
      const cached = known.get(token)
      if (cached !== undefined) return cached
      const name = token.slice(0, token.indexOf('.'))
      if (!/^[a-z][a-z0-9-]{0,31}$/.test(name)) return undefined
      if (!timingSafeEqual(digest(token), digest(staticPeerToken(name, keys.peerSecret)()))) return undefined
      known.set(token, name)
      return name
    },
  }
}

/** The token of a service on a mesh with one shared secret: its name, and an HMAC of the name. */
export function staticPeerToken(name: string, peerSecret: string): PeerToken {
  const token = `${name}.${createHmac('sha256', peerSecret).update(`relay peer ${name}`).digest('hex')}`
  return () => token
}

/** The token of an `Authorization: Bearer …` value; undefined for any other scheme. */
export function bearerToken(header: string | undefined): string | undefined {
  const match = header === undefined ? null : /^Bearer +([A-Za-z0-9._~+/=-]{1,4096})$/i.exec(header)
  return match?.[1]
}
