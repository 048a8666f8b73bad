/** The OAuth facet of a provider: an OAuth 2.0 authorization server, and how this one differs from others. */
import type { Config, Spec } from '#mesh/config.ts'

export interface Endpoints {
  readonly authorization: URL
  readonly token: URL
  /** RFC 7009; some providers have none. */
  readonly revocation?: URL | undefined
  /** The endpoint that identifies the account if the id_token does not: OpenID Connect's, or one that `readAccount` understands. */
  readonly userinfo?: URL | undefined
  /** The keys that id_tokens are signed with. */
  readonly jwks?: URL | undefined
}

/** How a client sends its secret to the token endpoint (RFC 6749, 2.3.1); `none` is a public client. */
export const clientAuths = ['client_secret_post', 'client_secret_basic', 'none'] as const
export type ClientAuth = (typeof clientAuths)[number]

/** A JSON object from the provider: not trusted. */
export type JsonObject = Readonly<Record<string, unknown>>

export interface OAuthServer {
  /** The issuer identifier; `{tenantid}` in it stands for any UUID, if one server serves many tenants. */
  readonly issuer: string
  /** If undefined, they are read from the issuer's discovery document. */
  readonly endpoints: Endpoints | undefined
  readonly clientAuth: ClientAuth
  /** Requested if the caller names none. */
  readonly scopes: readonly string[]
  /** What scopes allow, in plain words for the account's owner. */
  readonly permissions: Readonly<Record<string, string>>
  /** Further parameters of the authorization request. */
  readonly parameters: Readonly<Record<string, string>>
  /** Those of them that request consent from a person who consented before, which is how a refresh token is issued again. */
  readonly reconsent: Readonly<Record<string, string>>
  /** What revoking a token ends: everything that the account ever granted us, or only the grant of the token. */
  readonly revocationEnds: 'account' | 'grant'
  /** Prefixes that scopes may have in a response although they were requested without. */
  readonly scopePrefix: string
  /** The separator of scopes in a request; a space if unset (RFC 6749, 3.3). */
  readonly scopeSeparator?: ',' | undefined
  /** Whether plain http is allowed, which it is only on loopback. */
  readonly allowHttp: boolean
  /** Converts its token responses to RFC 6749 (5.1, 5.2), if they differ. */
  readonly readTokenResponse?: ((body: JsonObject) => { readonly status: number; readonly body: JsonObject }) | undefined
  /** Reads the account from the response of `endpoints.userinfo`, if that is not OpenID Connect's; undefined if it cannot be told. */
  readonly readAccount?: ((body: JsonObject) => { readonly account: string; readonly subject: string } | undefined) | undefined
}

export interface OAuthFacet<S extends Spec = Spec> {
  /** Variables beside those of the client, `<NAME>_CLIENT_ID` and `<NAME>_CLIENT_SECRET`. */
  readonly variables: S
  /** `sandbox` is the URL of the fake, if it replaces the provider. */
  server(config: Config<S>, sandbox: URL | undefined): OAuthServer
}

/** Keeps the types of the variables for `server`. */
export const oauthFacet = <S extends Spec>(facet: OAuthFacet<S>): OAuthFacet => facet
