/** What a provider of accounts is: an OAuth 2.0 authorization server, with what this one does otherwise than others. */

export interface Endpoints {
  readonly authorization: URL
  readonly token: URL
  /** RFC 7009; some have none. */
  readonly revocation?: URL | undefined
  /** OpenID Connect: whose account it is, where the id_token does not say. */
  readonly userinfo?: URL | undefined
  /** The keys that id_tokens are signed with. */
  readonly jwks?: URL | undefined
}

/** How a client shows its secret at the token endpoint (RFC 6749, 2.3.1); `none` is a public client. */
export const clientAuths = ['client_secret_post', 'client_secret_basic', 'none'] as const
export type ClientAuth = (typeof clientAuths)[number]

export interface Provider {
  /** As in paths: `google`. */
  readonly name: string
  /** As people read it: `Google`. */
  readonly title: string
  /** The issuer identifier; `{tenantid}` in it stands for any UUID, where one server speaks for many tenants. */
  readonly issuer: string
  /** Undefined: they are read from the issuer's discovery document. */
  readonly endpoints: Endpoints | undefined
  readonly clientId: string
  /** A function, so that no log that is given a provider has it. */
  readonly clientSecret: () => string
  readonly clientAuth: ClientAuth
  /** Asked for where a caller names none. */
  readonly scopes: readonly string[]
  /** What scopes allow, in plain words for the account's owner. */
  readonly permissions: Readonly<Record<string, string>>
  /** Further parameters of the authorization request. */
  readonly parameters: Readonly<Record<string, string>>
  /** Of these, those that make somebody who consented before consent again: what brings a refresh token anew. */
  readonly reconsent: Readonly<Record<string, string>>
  /** What ends with a token that is revoked: all that the account ever granted us, or what the token was granted with. */
  readonly revocationEnds: 'account' | 'grant'
  /** What scopes may begin with in an answer although they were asked for without it. */
  readonly scopePrefix: string
  /** Whether it may be spoken to over plain http; that is done on loopback alone. */
  readonly allowHttp: boolean
}

/** What is asked for on the way to the rest: providers name these otherwise, or not at all, in what they say was granted. */
const identityScopes: ReadonlySet<string> = new Set(['openid', 'email', 'profile', 'offline_access'])

/** A scope-token of RFC 6749, 3.3. */
export const isScope = (text: string): boolean => /^[\x21\x23-\x5b\x5d-\x7e]{1,256}$/.test(text)

/** What is asked for: what is wanted, or all that the provider's actions need; and always whose account it is, and for how long. */
export function withIdentity({ scopes }: Pick<Provider, 'scopes'>, wanted: readonly string[]): string[] {
  return wanted.length === 0 ? [...scopes] : [...new Set([...scopes.filter((scope) => identityScopes.has(scope)), ...wanted])]
}

/** Whether a refresh token is asked for: by OpenID Connect's scope (Core, 11), or by Google's parameter. */
export const asksOffline = ({ parameters }: Pick<Provider, 'parameters'>, scopes: readonly string[]): boolean =>
  scopes.includes('offline_access') || parameters.access_type === 'offline'

export const speaksOpenId = (scopes: readonly string[]): boolean => scopes.includes('openid')

const commonPermissions: Readonly<Record<string, string>> = {
  openid: 'See which account it is',
  email: 'See the email address of the account',
  profile: 'See the name and the picture of the account',
}
const lasting = 'Do all of this until you disconnect the account, also while you are away'

/** What is asked for, in plain words; a scope that has none stands as it is. */
export function permissionsOf(provider: Pick<Provider, 'permissions' | 'parameters'>, scopes: readonly string[]): string[] {
  const words = { ...commonPermissions, ...provider.permissions }
  const named = scopes
    .filter((scope) => scope !== 'offline_access')
    .map((scope) => (Object.hasOwn(words, scope) ? words[scope]! : `Use the permission ${scope}`))
  return asksOffline(provider, scopes) ? [...named, lasting] : named
}

/** Scopes as they were asked for, whatever way the provider writes them (RFC 6749, 3.3: separated by spaces). */
export function readScopes(provider: Pick<Provider, 'scopePrefix'>, text: string): string[] {
  const { scopePrefix } = provider
  const scopes = text.split(' ').filter((scope) => scope !== '')
  const plain = (scope: string) => (scope.startsWith(scopePrefix) ? scope.slice(scopePrefix.length) : scope)
  return [...new Set(scopes.map(plain))]
}

/** What was asked for and not granted. Some providers answer in other capitals than they were asked in. */
export function missingScopes(asked: readonly string[], granted: readonly string[]): string[] {
  const given = new Set(granted.map((scope) => scope.toLowerCase()))
  return asked.filter((scope) => !identityScopes.has(scope) && !given.has(scope.toLowerCase()))
}

const tenant = '{tenantid}'
const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** Whether an issuer identifier is the provider's: the same characters (RFC 9207, 2.4), a tenant's UUID aside. */
export function isIssuer({ issuer }: Pick<Provider, 'issuer'>, claimed: string): boolean {
  const at = issuer.indexOf(tenant)
  if (at < 0) return claimed === issuer
  const [before, after] = [issuer.slice(0, at), issuer.slice(at + tenant.length)]
  if (!claimed.startsWith(before) || !claimed.endsWith(after)) return false
  return uuid.test(claimed.slice(before.length, claimed.length - after.length))
}

/** The hosts that are this machine, as a URL names them. */
const isLoopback = (hostname: string): boolean => /^(?:localhost|\[::1\]|127(?:\.\d{1,3}){3})$/.test(hostname)

/** Whether a provider may be spoken to at this URL: https, or http on loopback where that is allowed; and no password in it. */
export function isUsable(url: URL, allowHttp: boolean): boolean {
  if (url.username !== '' || url.password !== '' || url.hash !== '') return false
  return url.protocol === 'https:' || (allowHttp && url.protocol === 'http:' && isLoopback(url.hostname))
}
