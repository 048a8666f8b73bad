/** A provider's scopes and URLs. Pure. */

import { isUuid } from '#mesh/uuid.ts'
import { isLoopback } from '#mesh/loopback.ts'
import type { OAuthServer } from '#providers/oauth.ts'

/** A provider at which accounts can be connected, with this installation's client. */
export interface Provider extends OAuthServer {
  /** As in paths: `google`. */
  readonly name: string
  /** For people: `Google`. */
  readonly title: string
  readonly clientId: string
  /** A function, so that it never appears in a log of the provider. */
  readonly clientSecret: () => string
}

/** Scopes that are requested along with the rest: providers rename or omit these in what they report as granted. */
const identityScopes: ReadonlySet<string> = new Set(['openid', 'email', 'profile', 'offline_access'])

/** A scope-token of RFC 6749, 3.3. */
export const isScope = (text: string): boolean => /^[\x21\x23-\x5b\x5d-\x7e]{1,256}$/.test(text)

/**
 * The scopes to request: the wanted ones, or all that the provider's actions need; and always those for the account's identity and a
 * lasting grant.
 */
export function withIdentity({ scopes }: Pick<Provider, 'scopes'>, wanted: readonly string[]): string[] {
  return wanted.length === 0 ? [...scopes] : [...new Set([...scopes.filter((scope) => identityScopes.has(scope)), ...wanted])]
}

/** Whether a refresh token is requested: by OpenID Connect's scope (Core, 11), or by Google's parameter. */
export const requestsOfflineAccess = ({ parameters }: Pick<Provider, 'parameters'>, scopes: readonly string[]): boolean =>
  scopes.includes('offline_access') || parameters.access_type === 'offline'

export const speaksOpenId = (scopes: readonly string[]): boolean => scopes.includes('openid')

const commonPermissions: Readonly<Record<string, string>> = {
  openid: 'See which account it is',
  email: 'See the email address of the account',
  profile: 'See the name and the picture of the account',
}
const lasting = 'Do all of this until you disconnect the account, also while you are away'

/** The requested permissions, in plain words; a scope without words stands as it is. */
export function permissionsOf(provider: Pick<Provider, 'permissions' | 'parameters'>, scopes: readonly string[]): string[] {
  const words = { ...commonPermissions, ...provider.permissions }
  const named = scopes
    .filter((scope) => scope !== 'offline_access')
    .map((scope) => (Object.hasOwn(words, scope) ? words[scope]! : `Use the permission ${scope}`))
  return requestsOfflineAccess(provider, scopes) ? [...named, lasting] : named
}

/** Scopes as they were requested, however the provider writes them: separated by spaces (RFC 6749, 3.3) or commas (Slack, GitHub). */
export function readScopes(provider: Pick<Provider, 'scopePrefix'>, text: string): string[] {
  const { scopePrefix } = provider
  const scopes = text.split(/[ ,]/).filter((scope) => scope !== '')
  const plain = (scope: string) => (scope.startsWith(scopePrefix) ? scope.slice(scopePrefix.length) : scope)
  return [...new Set(scopes.map(plain))]
}

/** The requested scopes that were not granted. Some providers respond in other letter cases. */
export function missingScopes(asked: readonly string[], granted: readonly string[]): string[] {
  const given = new Set(granted.map((scope) => scope.toLowerCase()))
  return asked.filter((scope) => !identityScopes.has(scope) && !given.has(scope.toLowerCase()))
}

const tenant = '{tenantid}'

/** Whether an issuer identifier is the provider's: the same characters (RFC 9207, 2.4), except a tenant's UUID. */
export function isIssuer({ issuer }: Pick<Provider, 'issuer'>, claimed: string): boolean {
  const at = issuer.indexOf(tenant)
  if (at < 0) return claimed === issuer
  const [before, after] = [issuer.slice(0, at), issuer.slice(at + tenant.length)]
  if (!claimed.startsWith(before) || !claimed.endsWith(after)) return false
  const id = claimed.slice(before.length, claimed.length - after.length)
  return isUuid(id) && id === id.toLowerCase()
}

/** Whether a provider may be called at this URL: https, or http on loopback if that is allowed; and without a password in it. */
export function isUsable(url: URL, allowHttp: boolean): boolean {
  if (url.username !== '' || url.password !== '' || url.hash !== '') return false
  return url.protocol === 'https:' || (allowHttp && url.protocol === 'http:' && isLoopback(url.hostname))
}
