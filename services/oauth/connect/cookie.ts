/** The cookie that binds a state to the browser that was sent off with it (RFC 6265bis). */
import { createHash, timingSafeEqual } from 'node:crypto'

export interface Cookies {
  /** The Set-Cookie header that binds a browser to the state of this hash. */
  bind(stateHash: string, secret: string, lifeMs: number): string
  /** The one that takes it back. */
  clear(stateHash: string): string
  /** Whether a Cookie header has exactly one of that name, with the secret of this hash. */
  holds(header: string, stateHash: string, secretHash: string): boolean
}

/**
 * On https with the prefix that lets no other host and no plain page set it. Plain http (on loopback, where a page of ours is under
 * development) knows neither that prefix nor Secure.
 */
export function cookies({ secure }: { secure: boolean }): Cookies {
  // One for each state: who connects two accounts at once has two.
  const nameOf = (stateHash: string) => `${secure ? '__Host-' : ''}relay-oauth-${stateHash.slice(0, 8)}`
  // Lax: it is to come along when the provider sends the browser back, which is a navigation from another site.
  const attributes = (maxAge: number) => `Path=/; ${secure ? 'Secure; ' : ''}HttpOnly; SameSite=Lax; Max-Age=${maxAge}`
  return {
    bind: (stateHash, secret, lifeMs) => `${nameOf(stateHash)}=${secret}; ${attributes(Math.floor(lifeMs / 1000))}`,
    clear: (stateHash) => `${nameOf(stateHash)}=; ${attributes(0)}`,
    holds(header, stateHash, secretHash) {
      const values = valuesOf(header, nameOf(stateHash))
      if (values.length !== 1) return false
      return timingSafeEqual(createHash('sha256').update(values[0]!).digest(), Buffer.from(secretHash, 'hex'))
    },
  }
}

const valuesOf = (header: string, name: string): string[] =>
  header
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${name}=`))
    .map((pair) => pair.slice(name.length + 1))
