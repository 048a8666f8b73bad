/** Providers that an installation declares itself: OAUTH_PROVIDERS_FILE. */
import { parse } from 'yaml'
import { z } from 'zod'
import { providerNames } from '#providers/list.ts'
import { clientAuths } from '#providers/oauth.ts'
import { isScope, isUsable } from './provider.ts'
import type { DeclaredProvider } from './registry.ts'

const variable = z.string().regex(/^[A-Z][A-Z0-9_]{0,63}$/)
const parameters = z.record(z.string().regex(/^[a-z][a-z0-9_]{0,63}$/), z.string().max(256))
const scope = z.string().refine(isScope, 'is not a scope (RFC 6749)')
const url = z.url().max(512)

/** Parameters that are set here for each request; a file that set them would break what they protect. */
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
    permissions: z.record(z.string().refine(isScope, 'is not a scope (RFC 6749)'), z.string().min(1).max(200)).default({}),
    parameters: parameters.default({}),
    reconsent: parameters.default({}),
    // Assuming that it ends more is safe.
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

/** Path segments below /oauth/ beside the names of providers. */
const pathNames = ['start', 'connections']

const file = z.strictObject({ providers: z.array(declaration).max(64) })

/**
 * Parses OAUTH_PROVIDERS_FILE:
 *
 *   providers:
 *     - name: example
 *       issuer: https://id.example.com        # discovered, unless `endpoints` says authorization, token, revocation, userinfo, jwks
 *       client_id_env: EXAMPLE_CLIENT_ID
 *       client_secret_env: EXAMPLE_CLIENT_SECRET
 *       scopes: [openid, email, offline_access]
 *
 * Further: title, permissions (what each scope allows, for people), client_auth (client_secret_post, client_secret_basic, none), parameters
 * and reconsent (of the authorization request), revocation_ends (account, or grant if a revoked token ends only its own grant),
 * scope_prefix, allow_http (loopback only). `reserved` are names that are taken. Throws an Error with every problem.
 */
export function parseProviders(yaml: string, reserved: readonly string[] = providerNames): DeclaredProvider[] {
  const read = file.safeParse(parse(yaml, { maxAliasCount: 0 }))
  if (!read.success) throw new Error(`is not a list of providers: ${z.prettifyError(read.error)}`)
  const declared = read.data.providers.map(toDeclared)
  const names = declared.map(({ name }) => name)
  const taken = names.find((name, index) => names.indexOf(name) !== index || pathNames.includes(name) || reserved.includes(name))
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
