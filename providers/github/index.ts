import { provider } from '../provider.ts'

export const github = provider({
  name: 'github',
  title: 'GitHub',
  oauth: async () => (await import('./oauth.ts')).oauth,
  api: async () => (await import('./api.ts')).api,
  sandbox: async () => (await import('./sandbox.ts')).sandbox,
})
