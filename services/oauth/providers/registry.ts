/**
 * The providers: those of providers/, and those of OAUTH_PROVIDERS_FILE. Their variables alone decide which are configured, so that an
 * unconfigured one can name them.
 */
import { errors } from '../errors.ts'
import type { Provider } from './provider.ts'

/** A declared provider, before its variables are read. */
export interface DeclaredProvider extends Omit<Provider, 'clientId' | 'clientSecret'> {
  readonly clientIdVariable: string
  /** Undefined for a public client. */
  readonly clientSecretVariable: string | undefined
}

export type ProviderLookup = { readonly provider: Provider } | { readonly missing: readonly string[] }

export class Providers {
  readonly #found: ReadonlyMap<string, ProviderLookup>

  /** `read` returns the value of a variable, undefined if it is not set. */
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

/** The variables that configure a provider. */
export const variablesOf = ({ clientIdVariable, clientSecretVariable }: DeclaredProvider): string[] =>
  clientSecretVariable === undefined ? [clientIdVariable] : [clientIdVariable, clientSecretVariable]
