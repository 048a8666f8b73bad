import fc from 'fast-check'
import { expect, test } from 'vitest'
import { cookies } from '../../../../services/oauth/connect/cookie.ts'
import { hashOf } from '../../../../services/oauth/connect/reference.ts'

const { bind, clear, holds } = cookies({ secure: true })
const state = hashOf('a state')
const name = `__Host-relay-oauth-${state.slice(0, 8)}`

test('the cookie holds what the prefix __Host- asks for (RFC 6265bis, 4.1.3.2): Secure, the whole site, no domain', () => {
  for (const header of [bind(state, 'secret', 600_000), clear(state)]) {
    expect(header).toMatch(new RegExp(`^${name}=`))
    expect(header).toContain('; Path=/; Secure; HttpOnly; SameSite=Lax')
    expect(header).not.toMatch(/domain/i)
  }
})

test('it is found among others, wherever it stands', () => {
  const header = `a=b; ${name}=the-secret; ${name}x=other;c`
  expect(holds(header, state, hashOf('the-secret'))).toBe(true)
  expect(holds(header, hashOf('another state'), hashOf('the-secret'))).toBe(false)
})

test('nothing but the secret itself holds', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 60 }), (text) => {
      fc.pre(!text.includes(`${name}=the-secret`))
      expect(holds(text, state, hashOf('the-secret'))).toBe(false)
      expect(holds(`${name}=${text}`, state, hashOf('the-secret'))).toBe(/^\s*the-secret\s*(?:;|$)/.test(text) && !text.includes(name))
    }),
  )
})

test('two of one name are none: one of them somebody else has set', () => {
  expect(holds(`${name}=the-secret; ${name}=the-secret`, state, hashOf('the-secret'))).toBe(false)
})
