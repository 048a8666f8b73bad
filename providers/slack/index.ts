import { provider } from '../provider.ts'

export const slack = provider({
  name: 'slack',
  title: 'Slack',
  oauth: async () => (await import('./oauth.ts')).oauth,
  api: async () => (await import('./api.ts')).api,
  sandbox: async () => (await import('./sandbox.ts')).sandbox,
})
