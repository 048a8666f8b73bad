/** The providers of index.ts as a list. */
import * as all from './index.ts'
import type { Provider } from './provider.ts'

export type ProviderName = (typeof all)[keyof typeof all]['name']

export const providers: readonly Provider<ProviderName>[] = Object.values(all)

/** For metric labels. */
export const providerNames: readonly ProviderName[] = providers.map(({ name }) => name)

/** The prefix of a provider's variables: `GOOGLE`. */
export const prefixOf = (name: string): string => name.toUpperCase()

/** The variables of this installation's OAuth client. */
export const clientVariables = (name: string): { id: string; secret: string } => ({
  id: `${prefixOf(name)}_CLIENT_ID`,
  secret: `${prefixOf(name)}_CLIENT_SECRET`,
})
