import { describe, expect, test } from 'vitest'
import { ConfigError, Secret, readConfig } from '#mesh/config.ts'
import { weaknessOf } from '#mesh/secrets.ts'
import { apis, checkConfig, variables } from '../../../services/actions/config.ts'
import { fakeMesh } from '../../fakes/identity.ts'

const strong = 'kD8v2mQx7Lr0Zt5Wp3Yn9Hs6Bf1Cj4Ge'
const env = {
  DATABASE_URL: 'postgres://u:p@127.0.0.1/x',
  IDEMPOTENCY_ADDR: '127.0.0.1:1',
  ACCESS_ADDR: '127.0.0.1:1',
  ...fakeMesh().env('actions'),
}
const root = strong.split('').toReversed().join('')
const check =
  (environment: string, secret: string, signatureRoot = root) =>
  () =>
    checkConfig({
      ...readConfig(variables, { ...env, ACTIONS_SIGNING_SECRET: secret, SIGNATURE_ROOT_SECRET: signatureRoot }),
      environment,
    })

describe('production', () => {
  test.each([
    ['short', 'a'.repeat(31)],
    ['from an example', `change-me-${strong}`],
    ['a repetition', 'abcd'.repeat(10)],
  ])('refuses to start with a signing secret that is %s, without repeating it', (_, secret) => {
    expect(check('production', secret)).toThrow(ConfigError)
    expect(check('production', secret)).not.toThrow(secret)
    expect(check('local', secret)).not.toThrow()
  })

  test('refuses to start without a root of signature keys; elsewhere there is one, or the secret from before', () => {
    expect(check('production', strong, '')).toThrow('SIGNATURE_ROOT_SECRET is not set')
    expect(check('local', strong, '')).not.toThrow()
    expect(check('local', '', '')).toThrow('SIGNATURE_ROOT_SECRET is not set')
    expect(check('local', strong, strong)).toThrow('SIGNATURE_ROOT_SECRET is ACTIONS_SIGNING_SECRET')
  })

  test('takes a strong one', () => {
    expect(check('production', strong)).not.toThrow()
    expect(check('production', '')).not.toThrow()
    expect(weaknessOf(new Secret(strong))).toBeUndefined()
    expect(weaknessOf(undefined)).toBe('is not set')
  })
})

test('a run that would be given up before its request is refused', () => {
  const check = (over: Record<string, string>) => () =>
    checkConfig({
      ...readConfig(variables, { ...env, ACTIONS_SIGNING_SECRET: strong, SIGNATURE_ROOT_SECRET: root, ...over }),
      environment: 'local',
    })
  expect(check({ RUN_DEADLINE: '14s' })).toThrow('RUN_DEADLINE is shorter than PROVIDER_TIMEOUT')
  expect(check({ RUN_DEADLINE: '19s', WEBHOOK_TIMEOUT: '20s' })).toThrow('RUN_DEADLINE is shorter than WEBHOOK_TIMEOUT')
  expect(check({ RUN_DEADLINE: '15s' })).not.toThrow()
})

describe('where tokens go', () => {
  const checkWith = (environment: string, over: Record<string, string>) => () =>
    checkConfig({ ...readConfig(variables, { ...env, ACTIONS_SIGNING_SECRET: strong, SIGNATURE_ROOT_SECRET: root, ...over }), environment })

  test.each([
    ['a sandbox in production', 'production', { RELAY_SANDBOX: 'http://127.0.0.1:9' }],
    ['a sandbox elsewhere', 'local', { RELAY_SANDBOX: 'http://sandbox.example.com' }],
    ['a sandbox whose name only begins like this machine', 'local', { RELAY_SANDBOX: 'http://127.0.0.1.example.com' }],
    ['plain http to elsewhere', 'local', { GOOGLE_API_URL: 'http://www.googleapis.com' }],
    ['plain http in production', 'production', { GRAPH_API_URL: 'http://127.0.0.1:9' }],
    ['an address with a password', 'local', { GRAPH_API_URL: 'https://u:p@graph.microsoft.com' }],
  ])('is never %s', (_, environment, over) => {
    expect(checkWith(environment, over)).toThrow(ConfigError)
  })

  test('is the providers themselves, or all of it a sandbox on this machine', () => {
    expect(checkWith('production', {})).not.toThrow()
    expect(checkWith('local', { RELAY_SANDBOX: 'http://127.0.0.1:9', GOOGLE_API_URL: 'http://[::1]:9' })).not.toThrow()
    const urls = (over: Record<string, string>) =>
      Object.fromEntries(
        apis(readConfig(variables, { ...env, ACTIONS_SIGNING_SECRET: strong, ...over })).apis.map(({ name, url }) => [name, url]),
      )
    expect(urls({})).toMatchObject({
      google: { origin: 'https://www.googleapis.com' },
      microsoft: { origin: 'https://graph.microsoft.com' },
    })
    expect(urls({ RELAY_SANDBOX: 'http://127.0.0.1:9' })).toMatchObject({ google: { port: '9' }, microsoft: { port: '9' } })
  })
})
