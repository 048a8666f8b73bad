import { describe, expect, test } from 'vitest'
import { ConfigError, readConfig } from '#mesh/config.ts'
import { checkConfig, gatewayVariables } from '../../gateway/config.ts'
import { fakeMesh } from '../fakes/identity.ts'

const min = { ...fakeMesh().env('gateway'), UPSTREAMS: 'actions=127.0.0.1:7001' }
const read = (env: NodeJS.ProcessEnv) => readConfig(gatewayVariables, { ...min, ...env })
const check = (environment: string, env: NodeJS.ProcessEnv) => () => checkConfig({ ...read(env), environment })
/** Long and of no pattern, as openssl rand -hex 32 makes them. */
const strong = '5b1c0f9e2d7a48c3b6e19f0a7d3c5e8812fa64b09c7de35187ab20cf96d4e3b1'

describe('UPSTREAMS', () => {
  test('names services and where they are, replicas by plus', () => {
    expect([...read({ UPSTREAMS: 'actions=127.0.0.1:7001+127.0.0.1:7002, ratelimit=limits:7003' }).upstreams]).toEqual([
      ['actions', '127.0.0.1:7001+127.0.0.1:7002'],
      ['ratelimit', 'limits:7003'],
    ])
  })

  test.each(['actions', 'actions=', '=a:1', 'actions=a:1,', 'Actions=a:1', 'actions=a:1,actions=b:1'])('%j is refused', (value) => {
    expect(() => read({ UPSTREAMS: value })).toThrow(ConfigError)
  })

  test('must be set', () => {
    expect(() => read({ UPSTREAMS: '' })).toThrow('UPSTREAMS is not set')
  })
})

describe('production', () => {
  const root = strong.split('').toReversed().join('')
  const whole = { CORS_ORIGINS: 'https://studio.example', ACTIONS_SIGNING_SECRET: strong, SIGNATURE_ROOT_SECRET: root }
  test('starts with its minimum variables', () => {
    expect(check('production', whole)).not.toThrow()
    // The secret from before is for receivers from before.
    expect(check('production', { ...whole, ACTIONS_SIGNING_SECRET: '' })).not.toThrow()
  })

  test.each([
    ['no CORS_ORIGINS', { CORS_ORIGINS: '' }, 'CORS_ORIGINS is not set'],
    ['no root of signature keys', { SIGNATURE_ROOT_SECRET: '' }, 'SIGNATURE_ROOT_SECRET is not set'],
    ['a short root', { SIGNATURE_ROOT_SECRET: 'short' }, 'SIGNATURE_ROOT_SECRET is shorter than 32'],
    ['a short signing secret', { ACTIONS_SIGNING_SECRET: strong.slice(0, 31) }, 'shorter than 32'],
    ['a signing secret of one repeated part', { ACTIONS_SIGNING_SECRET: 'abcd'.repeat(10) }, 'well-known placeholder'],
    ['a signing secret from an example', { ACTIONS_SIGNING_SECRET: `change-me-${strong}` }, 'well-known placeholder'],
  ])('refuses to start with %s', (_what, env, message) => {
    expect(check('production', { ...whole, ...env })).toThrow(message)
    expect(check('development', { ...whole, ...env })).not.toThrow()
  })

  test('never repeats the secret that it refuses', () => {
    expect(check('production', { ...whole, ACTIONS_SIGNING_SECRET: 'sesame-open' })).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining('sesame') as string }),
    )
  })
})

describe('anywhere', () => {
  test.each(['*', 'https://studio.example/', 'studio.example', 'https://studio.example/app', 'null'])(
    'CORS_ORIGINS with %j is refused: it would never match',
    (origin) => {
      expect(check('development', { CORS_ORIGINS: origin })).toThrow('CORS_ORIGINS')
    },
  )

  test('the root of signature keys is never a secret that receivers know', () => {
    const same = { ACTIONS_SIGNING_SECRET: strong, SIGNATURE_ROOT_SECRET: strong }
    expect(check('development', same)).toThrow('SIGNATURE_ROOT_SECRET is ACTIONS_SIGNING_SECRET')
  })

  test('REQUIRE_SIGNATURE needs something to verify with', () => {
    expect(check('development', { REQUIRE_SIGNATURE: 'true' })).toThrow('REQUIRE_SIGNATURE needs SIGNATURE_ROOT_SECRET')
    for (const name of ['ACTIONS_SIGNING_SECRET', 'SIGNATURE_ROOT_SECRET']) {
      expect(check('development', { REQUIRE_SIGNATURE: 'true', [name]: strong })).not.toThrow()
    }
  })
})
