/**
 * The cookies of connecting (RFC 6265bis): one binds a form, and then a state, to one browser; another is that of a session elsewhere in
 * Relay.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'

export interface Cookies {
  /** The browser's secret for forms; undefined if it has none, or several. */
  formSecret(header: string): string | undefined
  /** The Set-Cookie header that sets it. */
  bindForm(secret: string, lifetimeMs: number): string
  /** The Set-Cookie header that binds a browser to the state of this hash. */
  bind(stateHash: string, secret: string, lifetimeMs: number): string
  /** The one that clears it. */
  clear(stateHash: string): string
  /** Whether a Cookie header has exactly one of that name, with the secret of this hash. */
  holds(header: string, stateHash: string, secretHash: string): boolean
  /** Whether a Cookie header has exactly one session, with this SHA-256 in hex. */
  holdsSession(header: string, sha256: string): boolean
}

/**
 * On https with the prefix that prevents other hosts and plain pages from setting it. Plain http (on loopback, for development) supports
 * neither that prefix nor Secure.
 */
export function cookies({ secure }: { secure: boolean }): Cookies {
  const prefix = secure ? '__Host-' : ''
  const formName = `${prefix}relay-oauth-form`
  // One per state: a person who connects two accounts at once has two.
  const nameOf = (stateHash: string) => `${prefix}relay-oauth-${stateHash.slice(0, 8)}`
  const attributes = (sameSite: 'Lax' | 'Strict', maxAge: number) =>
    `Path=/; ${secure ? 'Secure; ' : ''}HttpOnly; SameSite=${sameSite}; Max-Age=${maxAge}`
  const seconds = (ms: number) => Math.floor(ms / 1000)
  return {
    formSecret(header) {
      const value = only(header, formName)
      return value !== undefined && /^[A-Za-z0-9_-]{43}$/.test(value) ? value : undefined
    },
    // Strict: a page of this site sends the forms.
    bindForm: (secret, lifetimeMs) => `${formName}=${secret}; ${attributes('Strict', seconds(lifetimeMs))}`,
    // Lax: it must be sent when the provider redirects the browser back, which is a navigation from another site.
    bind: (stateHash, secret, lifetimeMs) => `${nameOf(stateHash)}=${secret}; ${attributes('Lax', seconds(lifetimeMs))}`,
    clear: (stateHash) => `${nameOf(stateHash)}=; ${attributes('Lax', 0)}`,
    holds: (header, stateHash, secretHash) => isOf(only(header, nameOf(stateHash)), secretHash),
    holdsSession: (header, sha256) => isOf(only(header, `${prefix}relay-session`), sha256),
  }
}

/** The token in a form that keeps other sites from sending it: derived from the browser's secret, for one ticket. 43 characters. */
export const formToken = (secret: string, ticketHash: string): string => createHmac('sha256', secret).update(ticketHash).digest('base64url')

export function isFormToken(shown: string, secret: string, ticketHash: string): boolean {
  const [left, right] = [Buffer.from(shown), Buffer.from(formToken(secret, ticketHash))]
  return left.length === right.length && timingSafeEqual(left, right)
}

const isOf = (value: string | undefined, sha256: string): boolean =>
  value !== undefined && timingSafeEqual(createHash('sha256').update(value).digest(), Buffer.from(sha256, 'hex'))

/** The value of the only cookie of this name. */
function only(header: string, name: string): string | undefined {
  const values = header
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${name}=`))
    .map((pair) => pair.slice(name.length + 1))
  return values.length === 1 ? values[0] : undefined
}
