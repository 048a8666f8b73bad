import { provider } from '../provider.ts'

export const microsoft = provider({
  name: 'microsoft',
  title: 'Microsoft',
  oauth: async () => (await import('./oauth.ts')).oauth,
  api: async () => (await import('./api.ts')).api,
})
