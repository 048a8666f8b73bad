/**
 * The providers that there are: those of providers/, and those of OAUTH_PROVIDERS_FILE. Which of them are configured is decided by their
 * variables alone, so that one that is not can name them.
 */
import { errors } from '../errors.ts'
import type { Provider } from './provider.ts'

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
