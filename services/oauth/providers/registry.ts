/**
 * The providers that there are: Google and Microsoft, and those of OAUTH_PROVIDERS_FILE. Which of them are configured is decided by their
 * variables alone, so that one that is not can name them.
 *
 * What the actions need, and why:
 *
 * | scope                                             | allows |
 * |---------------------------------------------------|---|
 * | https://www.googleapis.com/auth/gmail.send        | sending; without the next, an ambiguous outcome stays unknown |
 * | https://www.googleapis.com/auth/gmail.compose     | drafts: made, looked up, sent, deleted; with it no mail goes out twice |
 * | https://www.googleapis.com/auth/gmail.metadata    | reading labels and headers of a thread: whether a draft that is gone was sent |
 * | https://www.googleapis.com/auth/calendar.events   | events: made under our own id, looked up |
 * | Mail.Send                                         | sending a message |
 * | Mail.ReadWrite                                    | the draft before that, with an id that stays, and what became of it |
 * | Calendars.ReadWrite                               | events: made under our own transaction id, looked up |
 * | offline_access                                    | Microsoft: a refresh token; Google is asked by access_type=offline |
 * | openid, email                                     | whose account it is |
 */
import { parse } from 'yaml'
import { z } from 'zod'
import { errors } from '../errors.ts'
import { type Endpoints, type Provider, clientAuths, isScope, isUsable } from './provider.ts'

/** A provider as it is declared, before its variables are read. */
export interface DeclaredProvider extends Omit<Provider, 'clientId' | 'clientSecret'> {
  readonly clientIdVariable: string
  /** Undefined for a public client. */
  readonly clientSecretVariable: string | undefined
}

export type ProviderLookup = { readonly provider: Provider } | { readonly missing: readonly string[] }

export class Providers {
  readonly #found: ReadonlyMap<string, ProviderLookup>

  /** `read` gives the value of a variable, undefined where it is not set. */
  constructor(declared: readonly DeclaredProvider[], read: (variable: string) => string | undefined) {
    this.#found = new Map(declared.map((each) => [each.name, configured(each, read)]))
  }

  /** Undefined: there is no such provider. */
  find(name: string): ProviderLookup | undefined {
    return this.#found.get(name)
  }

  /** All of them, by name. */
  list(): ReadonlyMap<string, ProviderLookup> {
    return this.#found
  }

  /** Throws UNKNOWN_PROVIDER, and OAUTH_NOT_CONFIGURED naming the variables. */
  get(name: string): Provider {
    const found = this.find(name)
    if (found === undefined) throw errors.UNKNOWN_PROVIDER()
    if ('provider' in found) return found.provider
    const { missing } = found
    const message = `This provider is not configured here: set ${missing.join(' and ')}.`
    throw errors.OAUTH_NOT_CONFIGURED({ message, metadata: { missing: missing.join(' ') } })
  }
}

function configured(declared: DeclaredProvider, read: (variable: string) => string | undefined): ProviderLookup {
  const { clientIdVariable, clientSecretVariable, ...rest } = declared
  const missing = variablesOf(declared).filter((variable) => (read(variable) ?? '') === '')
  if (missing.length > 0) return { missing }
  const secret = clientSecretVariable === undefined ? '' : read(clientSecretVariable)!
  return { provider: { ...rest, clientId: read(clientIdVariable)!, clientSecret: () => secret } }
}

/** The variables that a provider needs to be configured. */
export const variablesOf = ({ clientIdVariable, clientSecretVariable }: DeclaredProvider): string[] =>
  clientSecretVariable === undefined ? [clientIdVariable] : [clientIdVariable, clientSecretVariable]

export interface BuiltInParts {
  /** Whose accounts: a tenant's id or domain, or `common`, `organizations`, `consumers`. */
  microsoftTenant: string
  /** Where a sandbox stands in for both; the paths are emulate's. */
  sandbox?: URL | undefined
}

/**
 * As https://developers.google.com/identity/protocols/oauth2/web-server and
 * https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow have them.
 */
export function builtIn({ microsoftTenant, sandbox }: BuiltInParts): DeclaredProvider[] {
  return [google(sandbox), microsoft(microsoftTenant, sandbox)]
}

const googleScope = (name: string) => `https://www.googleapis.com/auth/${name}`

function google(sandbox: URL | undefined): DeclaredProvider {
  const at = (host: string, path: string) => new URL(path, sandbox ?? host)
  const endpoints: Endpoints = {
    authorization: at('https://accounts.google.com', '/o/oauth2/v2/auth'),
    token: sandbox ? new URL('/oauth2/token', sandbox) : new URL('https://oauth2.googleapis.com/token'),
    revocation: sandbox ? new URL('/oauth2/revoke', sandbox) : new URL('https://oauth2.googleapis.com/revoke'),
    userinfo: sandbox ? new URL('/oauth2/v2/userinfo', sandbox) : new URL('https://openidconnect.googleapis.com/v1/userinfo'),
    jwks: at('https://www.googleapis.com', '/oauth2/v3/certs'),
  }
  return {
    name: 'google',
    title: 'Google',
    issuer: sandbox ? sandbox.origin : 'https://accounts.google.com',
    endpoints,
    clientIdVariable: 'GOOGLE_CLIENT_ID',
    clientSecretVariable: 'GOOGLE_CLIENT_SECRET',
    clientAuth: 'client_secret_post',
    scopes: ['openid', 'email', ...['gmail.send', 'gmail.compose', 'gmail.metadata', 'calendar.events'].map(googleScope)],
    permissions: {
      [googleScope('gmail.send')]: 'Send email as you',
      [googleScope('gmail.compose')]: 'Create, read, change, send and delete your drafts',
      [googleScope('gmail.metadata')]: 'See the labels and headers of your email, not its text',
      [googleScope('calendar.events')]: 'See, create, change and delete events in your calendars',
    },
    // What was granted before stays granted: without this, connecting for one scope would take the others away.
    parameters: { access_type: 'offline', include_granted_scopes: 'true' },
    reconsent: { prompt: 'consent' },
    revocationEnds: 'account',
    scopePrefix: '',
    allowHttp: sandbox !== undefined,
  }
}

function microsoft(tenant: string, sandbox: URL | undefined): DeclaredProvider {
  const base = `https://login.microsoftonline.com/${encodeURIComponent(tenant)}`
  const at = (host: string, path: string) => new URL(sandbox ? `${sandbox.origin}${path}` : `${host}${path}`)
  const ofTenant = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(tenant) ? tenant.toLowerCase() : '{tenantid}'
  return {
    name: 'microsoft',
    title: 'Microsoft',
    issuer: sandbox ? `${sandbox.origin}/{tenantid}/v2.0` : `https://login.microsoftonline.com/${ofTenant}/v2.0`,
    endpoints: {
      authorization: at(base, '/oauth2/v2.0/authorize'),
      token: at(base, '/oauth2/v2.0/token'),
      // It has no endpoint of RFC 7009: what was connected is taken back by its owner at myapps.microsoft.com.
      userinfo: at('https://graph.microsoft.com', '/oidc/userinfo'),
      jwks: at(base, '/discovery/v2.0/keys'),
    },
    clientIdVariable: 'MICROSOFT_CLIENT_ID',
    clientSecretVariable: 'MICROSOFT_CLIENT_SECRET',
    clientAuth: 'client_secret_post',
    scopes: ['openid', 'email', 'offline_access', 'Mail.Send', 'Mail.ReadWrite', 'Calendars.ReadWrite'],
    permissions: {
      'Mail.Send': 'Send email as you',
      'Mail.ReadWrite': 'Read, create, change and delete your email',
      'Calendars.ReadWrite': 'See, create, change and delete events in your calendars',
    },
    parameters: { response_mode: 'query', prompt: 'select_account' },
    reconsent: { prompt: 'consent' },
    revocationEnds: 'account',
    scopePrefix: 'https://graph.microsoft.com/',
    allowHttp: sandbox !== undefined,
  }
}

const variable = z.string().regex(/^[A-Z][A-Z0-9_]{0,63}$/)
const parameters = z.record(z.string().regex(/^[a-z][a-z0-9_]{0,63}$/), z.string().max(256))
const scope = z.string().refine(isScope, 'is no scope of RFC 6749')
const url = z.url().max(512)

/** Parameters that are made here for each request; a file that set them would break what they protect. */
const ownParameters = [
  'client_id',
  'client_secret',
  'code_challenge',
  'code_challenge_method',
  'nonce',
  'redirect_uri',
  'response_type',
  'scope',
  'state',
]

const declaration = z
  .strictObject({
    name: z.string().regex(/^[a-z][a-z0-9_-]{0,31}$/),
    title: z.string().min(1).max(64).optional(),
    issuer: url,
    endpoints: z
      .strictObject({ authorization: url, token: url, revocation: url.optional(), userinfo: url.optional(), jwks: url.optional() })
      .optional(),
    client_id_env: variable,
    client_secret_env: variable.optional(),
    client_auth: z.enum(clientAuths).optional(),
    scopes: z.array(scope).min(1).max(32),
    permissions: z.record(z.string().refine(isScope, 'is no scope of RFC 6749'), z.string().min(1).max(200)).default({}),
    parameters: parameters.default({}),
    reconsent: parameters.default({}),
    // What ends more is what is safe to assume.
    revocation_ends: z.enum(['account', 'grant']).default('account'),
    scope_prefix: z.string().max(256).default(''),
    allow_http: z.boolean().default(false),
  })
  .superRefine((it, context) => {
    const wrong = (path: (string | number)[], message: string) => context.addIssue({ code: 'custom', path, message })
    for (const [name, value] of Object.entries({ issuer: it.issuer, ...it.endpoints })) {
      const usable = value === undefined || isUsable(new URL(value), it.allow_http)
      if (!usable) wrong([name], 'is neither https, nor http on loopback with allow_http')
    }
    for (const name of ownParameters) {
      if (name in it.parameters || name in it.reconsent) wrong(['parameters'], `must not set ${name}`)
    }
    if (it.client_auth === 'none' ? it.client_secret_env !== undefined : it.client_secret_env === undefined) {
      wrong(['client_secret_env'], 'is needed, unless client_auth is none')
    }
    if (it.endpoints === undefined && it.issuer.includes('{')) wrong(['issuer'], 'cannot be discovered where it stands for many')
  })

const file = z.strictObject({ providers: z.array(declaration).max(64) })

/**
 * Reads OAUTH_PROVIDERS_FILE:
 *
 *   providers:
 *     - name: example
 *       issuer: https://id.example.com        # discovered, unless `endpoints` says authorization, token, revocation, userinfo, jwks
 *       client_id_env: EXAMPLE_CLIENT_ID
 *       client_secret_env: EXAMPLE_CLIENT_SECRET
 *       scopes: [openid, email, offline_access]
 *
 * Further: title, permissions (what each scope allows, as people read it), client_auth (client_secret_post, client_secret_basic, none),
 * parameters and reconsent (of the authorization request), revocation_ends (account, or grant where a revoked token ends its own grant
 * alone), scope_prefix, allow_http (loopback only). Throws an Error that says everything that is wrong with it.
 */
export function parseProviders(yaml: string): DeclaredProvider[] {
  const read = file.safeParse(parse(yaml, { maxAliasCount: 0 }))
  if (!read.success) throw new Error(`is not a list of providers: ${z.prettifyError(read.error)}`)
  const declared = read.data.providers.map(toDeclared)
  const names = declared.map(({ name }) => name)
  const taken = names.find((name, index) => names.indexOf(name) !== index || ['google', 'microsoft', 'start', 'connections'].includes(name))
  if (taken !== undefined) throw new Error(`names ${taken} twice, or although there is one of that name`)
  return declared
}

function toDeclared(it: z.infer<typeof declaration>): DeclaredProvider {
  const { authorization, token, revocation, userinfo, jwks } = it.endpoints ?? {}
  const optional = (value: string | undefined) => (value === undefined ? undefined : new URL(value))
  return {
    name: it.name,
    title: it.title ?? it.name,
    issuer: it.issuer,
    endpoints:
      authorization === undefined || token === undefined
        ? undefined
        : {
            authorization: new URL(authorization),
            token: new URL(token),
            revocation: optional(revocation),
            userinfo: optional(userinfo),
            jwks: optional(jwks),
          },
    clientIdVariable: it.client_id_env,
    clientSecretVariable: it.client_secret_env,
    clientAuth: it.client_auth ?? 'client_secret_basic',
    scopes: it.scopes,
    permissions: it.permissions,
    parameters: it.parameters,
    reconsent: it.reconsent,
    revocationEnds: it.revocation_ends,
    scopePrefix: it.scope_prefix,
    allowHttp: it.allow_http,
  }
}
