/** How accounts of a provider are connected: an OAuth 2.0 authorization server, with what this one does otherwise than others. */
import type { Config, Spec } from '#mesh/config.ts'

export interface Endpoints {
  readonly authorization: URL
  readonly token: URL
  /** RFC 7009; some have none. */
  readonly revocation?: URL | undefined
  /** Whose account it is, where the id_token does not say: OpenID Connect's, or what `readAccount` understands. */
  readonly userinfo?: URL | undefined
  /** The keys that id_tokens are signed with. */
  readonly jwks?: URL | undefined
}

/** How a client shows its secret at the token endpoint (RFC 6749, 2.3.1); `none` is a public client. */
export const clientAuths = ['client_secret_post', 'client_secret_basic', 'none'] as const
export type ClientAuth = (typeof clientAuths)[number]

/** A JSON object that the provider wrote: to be read with care. */
export type JsonObject = Readonly<Record<string, unknown>>

export interface OAuthServer {
  /** The issuer identifier; `{tenantid}` in it stands for any UUID, where one server speaks for many tenants. */
  readonly issuer: string
  /** Undefined: they are read from the issuer's discovery document. */
  readonly endpoints: Endpoints | undefined
  readonly clientAuth: ClientAuth
  /** Requested where a caller names none. */
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
  /** Between scopes in a request; a space where unset (RFC 6749, 3.3). */
  readonly scopeSeparator?: ',' | undefined
  /** Whether it may be spoken to over plain http; that is done on loopback alone. */
  readonly allowHttp: boolean
  /** Its token responses as RFC 6749 (5.1, 5.2) has them, where it writes them otherwise. */
  readonly readTokenResponse?: ((body: JsonObject) => { readonly status: number; readonly body: JsonObject }) | undefined
  /** Whose account it is, by what `endpoints.userinfo` says, where that is not OpenID Connect's; undefined where it cannot be told. */
  readonly readAccount?: ((body: JsonObject) => { readonly account: string; readonly subject: string } | undefined) | undefined
}

export interface OAuthFacet<S extends Spec = Spec> {
  /** Variables beside those of the client, `<NAME>_CLIENT_ID` and `<NAME>_CLIENT_SECRET`. */
  readonly variables: S
  /** `sandbox` is where the fake stands in for the provider. */
  server(config: Config<S>, sandbox: URL | undefined): OAuthServer
}

/** Keeps the types of the variables for `server`. */
export const oauthFacet = <S extends Spec>(facet: OAuthFacet<S>): OAuthFacet => facet
