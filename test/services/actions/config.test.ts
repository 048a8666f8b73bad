import { describe, expect, test } from 'vitest'
import { ConfigError, Secret, readConfig } from '#mesh/config.ts'
import { weaknessOf } from '#mesh/secrets.ts'
import { checkConfig, variables } from '../../../services/actions/config.ts'
import { fakeMesh } from '../../fakes/identity.ts'

const strong = 'kD8v2mQx7Lr0Zt5Wp3Yn9Hs6Bf1Cj4Ge'
const env = {
  DATABASE_URL: 'postgres://u:p@127.0.0.1/x',
  IDEMPOTENCY_ADDR: '127.0.0.1:1',
  ACCESS_ADDR: '127.0.0.1:1',
  ...fakeMesh().env('actions'),
}
const check = (environment: string, secret: string) => () =>
  checkConfig({ ...readConfig(variables, { ...env, ACTIONS_SIGNING_SECRET: secret }), environment })

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

  test('takes a strong one', () => {
    expect(check('production', strong)).not.toThrow()
    expect(weaknessOf(new Secret(strong))).toBeUndefined()
    expect(weaknessOf(undefined)).toBe('is not set')
  })
})
