/** The providers of index.ts as a list. */
import * as all from './index.ts'
import type { Provider } from './provider.ts'

export type ProviderName = (typeof all)[keyof typeof all]['name']

export const providers: readonly Provider<ProviderName>[] = Object.values(all)

/** For the labels of metrics. */
export const providerNames: readonly ProviderName[] = providers.map(({ name }) => name)

/** How a variable of a provider begins: `GOOGLE`. */
export const prefixOf = (name: string): string => name.toUpperCase()

/** What the OAuth client of this installation is configured by. */
export const clientVariables = (name: string): { id: string; secret: string } => ({
  id: `${prefixOf(name)}_CLIENT_ID`,
  secret: `${prefixOf(name)}_CLIENT_SECRET`,
})
