/** Our URLs that browsers visit. */
import type { Provider } from '../providers/provider.ts'

export const startPath = (ticket: string): string => `/oauth/start/${ticket}`

/** The only redirect URI of a provider: the one that is registered there. */
export const redirectUri = (publicUrl: URL, { name }: Pick<Provider, 'name'>): string => new URL(`/oauth/${name}/callback`, publicUrl).href
