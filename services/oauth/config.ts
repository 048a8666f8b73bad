/** The variables of the oauth service and of its operator program. */
import { readFileSync } from 'node:fs'
import {
  type Config,
  ConfigError,
  type Spec,
  type Variable,
  duration,
  integer,
  list,
  optional,
  readConfig,
  secret,
  text,
  url,
} from '#mesh/config.ts'
import { accessVariables, identityVariables } from '#mesh/identity/variables.ts'
import { databaseVariables, grpcVariables, redisSchemes } from '#mesh/variables.ts'
import { isUsable } from './providers/provider.ts'
import { clientVariables, providers } from '#providers/list.ts'
import { parseProviders } from './providers/providers-file.ts'
import { type DeclaredProvider, Providers } from './providers/registry.ts'
import { Vault } from './vault/vault.ts'

/** Keys become a vault where they are read, so that nothing else holds them; every invalid key is named. */
function vault(name: string, doc: string): Variable<Vault> {
  const keys = secret(name, doc)
  return { ...keys, parse: (text) => new Vault(keys.parse(text).reveal().split(',')) }
}

/** The variables of stored tokens, for the service and relay-oauth.cli.ts. */
export const storedVariables = {
  databaseUrl: secret('DATABASE_URL', "This service's own Postgres database, as postgres://user:password@host:port/database"),
  vault: vault(
    'OAUTH_ENCRYPTION_KEY',
    'Fernet keys, separated by commas: the first encrypts tokens, all of them decrypt; the same in every replica, never in the database',
  ),
}

/** An invalid file stops the start, like any other variable. */
const providersFile: Variable<readonly DeclaredProvider[]> = {
  name: 'OAUTH_PROVIDERS_FILE',
  doc: 'Further providers, as YAML; services/oauth/providers/providers-file.ts says how',
  fallback: 'optional',
  parse: (file) => (file === undefined ? [] : parseProviders(readFileSync(file, 'utf8'))),
}

/** The OAuth facet alone: no code of a provider's API is loaded here. */
const builtIn = await Promise.all(providers.map(async ({ name, title, oauth }) => ({ name, title, facet: await oauth() })))

/** The variables of one provider. */
function variablesOf({ name, title, facet }: (typeof builtIn)[number]): Spec {
  const { id, secret: secretName } = clientVariables(name)
  return {
    [id]: optional(text(id, `The client that this installation is at ${title}; without it, accounts of ${title} cannot be connected`)),
    [secretName]: optional(secret(secretName, `The secret of that client at ${title}`)),
    ...Object.fromEntries(Object.values(facet.variables).map((variable) => [variable.name, variable])),
  }
}
const providerVariables: Spec = Object.assign({}, ...builtIn.map(variablesOf))

export const variables = {
  ...grpcVariables,
  ...databaseVariables,
  ...identityVariables,
  ...accessVariables,
  ...storedVariables,
  connections: integer('DATABASE_CONNECTIONS', 'Maximum Postgres connections', { default: '10', min: 2, max: 200 }),
  redisUrl: optional(
    url(
      'REDIS_URL',
      'URL of the Redis for pending authorizations and the encrypted token cache; if unset, the former are in Postgres, without a cache',
      redisSchemes,
    ),
  ),
  publicUrl: url('PUBLIC_URL', 'Public URL of Relay for browsers; providers redirect them to /oauth/<provider>/callback there', [
    'https',
    'http',
  ]),
  returnOrigins: list('OAUTH_RETURN_ORIGINS', 'Origins that browsers may be redirected to after connecting, as https://app.example.com'),
  providerMs: duration('OAUTH_PROVIDER_TIMEOUT', 'Timeout of one request to a provider', { default: '5s', minMs: 100, maxMs: 8000 }),
  endedMs: duration('OAUTH_ENDED_RETENTION', 'Retention of a connection whose owner must connect again', {
    default: '2160h',
    minMs: 3_600_000,
  }),
  providersFile,
  ...providerVariables,
  sandbox: optional(
    url('RELAY_SANDBOX', 'URL of a sandbox on loopback, in place of all providers; never in production', ['http', 'https']),
  ),
}

type Read = Config<typeof variables>

/** Checks that concern several variables. Throws ConfigError. */
export function checkConfig({ environment, publicUrl, returnOrigins, sandbox }: Read & { environment: string }): void {
  if (!isUsable(publicUrl, environment !== 'production')) {
    throw new ConfigError('PUBLIC_URL is not https; plain http is for loopback, outside production')
  }
  if (publicUrl.pathname !== '/' || publicUrl.search !== '') throw new ConfigError('PUBLIC_URL has a path or a query: it is an origin')
  const wrong = returnOrigins.find((origin) => URL.parse(origin)?.origin !== origin)
  if (wrong !== undefined) throw new ConfigError(`OAUTH_RETURN_ORIGINS has ${JSON.stringify(wrong)}; an origin is like https://example.com`)
  if (sandbox === undefined) return
  if (environment === 'production') throw new ConfigError('RELAY_SANDBOX is set: in production accounts are real')
  // The sandbox has no https, so plain http must stay on loopback.
  if (!isUsable(new URL(`http://${sandbox.host}`), true)) throw new ConfigError('RELAY_SANDBOX is not on loopback')
}

/** The providers of providers/, with the variables of this installation. */
export const declared = (sandbox: URL | undefined, env?: NodeJS.ProcessEnv): DeclaredProvider[] =>
  builtIn.map(({ name, title, facet }) => {
    const { id, secret: secretName } = clientVariables(name)
    const server = facet.server(readConfig(facet.variables, env), sandbox)
    return { name, title, clientIdVariable: id, clientSecretVariable: secretName, ...server }
  })

/** Each provider with its client, if its variables are set. Throws ConfigError. */
export function providersOf({ sandbox, providersFile: more }: Read): Providers {
  // Providers of the file name their variables themselves.
  return new Providers([...declared(sandbox), ...more], (name) => readConfig({ value: optional(text(name, '')) }).value)
}
