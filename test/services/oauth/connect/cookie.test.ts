import fc from 'fast-check'
import { expect, test } from 'vitest'
import { cookies, formToken, isFormToken } from '../../../../services/oauth/connect/cookie.ts'
import { hashOf } from '../../../../services/oauth/connect/state-token.ts'

const { bind, bindForm, clear, formSecret, holds, holdsSession } = cookies({ secure: true })
const state = hashOf('a state')
const name = `__Host-relay-oauth-${state.slice(0, 8)}`

test('the cookie has what the prefix __Host- requires (RFC 6265bis, 4.1.3.2): Secure, the whole site, no domain', () => {
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

test('only the secret itself matches', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 60 }), (text) => {
      fc.pre(!text.includes(`${name}=the-secret`))
      expect(holds(text, state, hashOf('the-secret'))).toBe(false)
      expect(holds(`${name}=${text}`, state, hashOf('the-secret'))).toBe(/^\s*the-secret\s*(?:;|$)/.test(text) && !text.includes(name))
    }),
  )
})

test('two of one name count as none: someone else has set one of them', () => {
  expect(holds(`${name}=the-secret; ${name}=the-secret`, state, hashOf('the-secret'))).toBe(false)
})

test('a form’s token fits its browser’s secret and its ticket, and no other', () => {
  const [secret, ticket] = ['s'.repeat(43), hashOf('a ticket')]
  const token = formToken(secret, ticket)
  expect(isFormToken(token, secret, ticket)).toBe(true)
  for (const [shown, by, of] of [
    ['', secret, ticket],
    [token, 't'.repeat(43), ticket],
    [token, secret, hashOf('another')],
    [`${token}x`, secret, ticket],
  ] as const) {
    expect(isFormToken(shown, by, of)).toBe(false)
  }
  expect(token).not.toContain(secret)
})

test('the secret for forms is sent only with requests of this site, and accepted only unchanged', () => {
  const secret = 's'.repeat(43)
  const header = bindForm(secret, 600_000)
  expect(header).toBe(`__Host-relay-oauth-form=${secret}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=600`)
  const sent = header.split(';')[0]!
  expect(formSecret(`a=b; ${sent}`)).toBe(secret)
  for (const wrong of ['', `${sent}x`, `${sent}; ${sent}`, sent.replace('__Host-', ''), '__Host-relay-oauth-form='])
    expect(formSecret(wrong)).toBeUndefined()
})

test('a session is matched by exactly one cookie of its name', () => {
  const sha256 = hashOf('the session')
  expect(holdsSession('a=b; __Host-relay-session=the session', sha256)).toBe(true)
  for (const wrong of [
    '',
    '__Host-relay-session=another',
    'relay-session=the session',
    '__Host-relay-session=the session; __Host-relay-session=x',
  ]) {
    expect(holdsSession(wrong, sha256)).toBe(false)
  }
})
