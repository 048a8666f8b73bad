/** Addresses of ours that browsers are sent to. */
import type { Provider } from '../providers/provider.ts'

export const startPath = (ticket: string): string => `/oauth/start/${ticket}`

/** The one redirect URI of a provider: what is registered there. */
export const redirectUri = (publicUrl: URL, { name }: Pick<Provider, 'name'>): string => new URL(`/oauth/${name}/callback`, publicUrl).href
