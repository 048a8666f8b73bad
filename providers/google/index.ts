import { provider } from '../provider.ts'

export const google = provider({
  name: 'google',
  title: 'Google',
  oauth: async () => (await import('./oauth.ts')).oauth,
  api: async () => (await import('./api.ts')).api,
})
