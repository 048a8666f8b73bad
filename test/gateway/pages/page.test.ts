import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Page } from '#gen/relay/mesh/v1/page.ts'
import { failurePage } from '../../../gateway/pages/failure-page.ts'
import { ownCookies, readPage } from '../../../gateway/pages/page.ts'
import { errors } from '../../../gateway/errors.ts'
import { meshErrors } from '#mesh/errors.ts'

const read = (page: Partial<Page>) => readPage(Page.encode(Page.fromPartial(page)).finish())
const redirect = (location: string) => read({ status: 303, location })
const cookie = (text: string) => read({ status: 200, html: 'x', setCookies: [text] })

describe('a page', () => {
  test.each([200, 400, 403, 404, 410, 503])('of status %i is its HTML, kept by nobody and telling nobody where it was', (status) => {
    const { headers, ...rest } = read({ status, html: '<p>ü' })
    expect(rest).toEqual({ status, body: '<p>ü' })
    expect(headers).toEqual({
      'content-type': 'text/html; charset=utf-8',
      'cache-control': 'no-store',
      'referrer-policy': 'no-referrer',
      'content-security-policy': "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    })
  })

  test.each([0, 100, 201, 204, 301, 307, 308, 401, 500, 1000])('has no other status: %i', (status) => {
    expect(() => read({ status, html: 'x', location: '' })).toThrow('status')
    expect(() => read({ status, html: '', location: '/' })).toThrow('status')
  })

  test('shows something, or goes somewhere: one of the two', () => {
    for (const status of [302, 303]) {
      expect(read({ status, location: '/done' })).toMatchObject({ status, headers: { location: '/done' }, body: '' })
      expect(() => read({ status })).toThrow('redirects nowhere')
      expect(() => read({ status, location: '/', html: 'x' })).toThrow('has HTML and redirects')
    }
    expect(() => read({ status: 200 })).toThrow('a page has no HTML')
    expect(() => read({ status: 200, location: '/', html: 'x' })).toThrow('does not redirect')
  })

  test('may have one style, which the policy then names', () => {
    const source = (style: string) => `'sha256-${createHash('sha256').update(style).digest('base64')}'`
    const policy = read({ status: 200, html: '<style>b { }</style><style>i { }</style>' }).headers['content-security-policy']
    expect(policy).toContain(`style-src ${source('b { }')};`)
    expect(policy).not.toContain(source('i { }'))
  })
})

describe('a page with a form, or that goes on by itself', () => {
  const policyOf = (page: Partial<Page>) => read({ status: 200, html: 'x', ...page }).headers['content-security-policy']

  test('may send the form to its own origin, and says by a header where it goes on to', () => {
    expect(policyOf({ form: true })).toContain("form-action 'self';")
    expect(policyOf({})).toContain("form-action 'none';")
    const forward = `https://provider.example/o?state=a.b&x='%20"`
    expect(read({ status: 200, html: 'x', forward }).headers.refresh).toBe(`0;url=${forward}`)
    expect(read({ status: 200, html: 'x' }).headers).not.toHaveProperty('refresh')
  })

  test.each([
    '//evil.example',
    'javascript:alert(1)',
    'data:text/html,x',
    'https://user:secret@host.example/',
    '/a\r\nset-cookie: relay-x=1',
  ])('never goes on to %j', (forward) => {
    expect(() => read({ status: 200, html: 'x', forward })).toThrow('forwards to an address that is neither http(s) nor a path')
  })

  test('goes on only when it went well', () => {
    for (const status of [303, 403, 503]) expect(() => read({ status, html: 'x', forward: '/' })).toThrow()
  })
})

describe('a redirect', () => {
  test.each(['https://provider.example/o?state=a.b&x=%20', 'http://localhost:3000/done#x', 'https://[::1]/', '/docs', '/', '/a?b=//c'])(
    'goes to %s',
    (location) => {
      expect(redirect(location).headers.location).toBe(location)
    },
  )

  test.each([
    '//evil.example',
    String.raw`/\evil.example`,
    String.raw`https:\\evil.example`,
    'https:evil.example',
    'javascript:alert(1)',
    'data:text/html,x',
    'file:///etc/passwd',
    'relative',
    '?x',
    'https://user:secret@host.example/',
    'https://',
    'https://a b',
    ' https://a.example',
    '/a\r\nset-cookie: relay-x=1',
    '/ü',
    '/\t/evil.example',
    `/${'x'.repeat(20 * 1024)}`,
  ])('never goes to %j', (location) => {
    expect(() => redirect(location)).toThrow('neither http(s) nor a path')
  })

  test('stays here or goes to http(s), whatever a service says', () => {
    const start = fc.constantFrom('/', '\\', 'https:', 'http:', 'javascript:', '', ' ', '\t')
    const part = fc.constantFrom('/', '\\', 'evil.example', '@', '..', '\t', '\n', '?', '#', ' ')
    const rest = fc.array(fc.oneof(part, fc.string({ maxLength: 3 })), { maxLength: 6 })
    const text = fc.tuple(start, rest).map(([first, all]) => first + all.join(''))
    fc.assert(
      fc.property(text, (location) => {
        let sent: string
        try {
          sent = redirect(location).headers.location as string
        } catch {
          return
        }
        const url = new URL(sent, 'https://relay.example/oauth/start/x')
        expect(['http:', 'https:']).toContain(url.protocol)
        if (sent.startsWith('/')) expect(url.origin).toBe('https://relay.example')
      }),
    )
  })
})

describe('a cookie', () => {
  test.each([
    '__Host-relay-oauth-1a2b3c4d=c2VjcmV0; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600',
    '__Host-relay-oauth-1a2b3c4d=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0',
    'relay-oauth-1a2b3c4d=c2VjcmV0; Path=/; HttpOnly; SameSite=Strict',
  ])('of ours is set: %s', (text) => {
    expect(cookie(text).headers['set-cookie']).toEqual([text])
  })

  test.each([
    ['by another name', 'session=1; Path=/; HttpOnly'],
    ['without a name', '=1'],
    ['without a value', '__Host-relay-x; Path=/; Secure'],
    ['for a whole domain', 'relay-x=1; Domain=example.com; Path=/'],
    ['for other sites too', 'relay-x=1; SameSite=None; Secure'],
    ['with the prefix and no Secure', '__Host-relay-x=1; Path=/; HttpOnly'],
    ['with the prefix and a narrower path', '__Host-relay-x=1; Path=/oauth; Secure'],
    ['with a line break', 'relay-x=1\r\nx: y'],
    ['with a blank', 'relay-x=a b'],
    ['with an attribute nobody knows', 'relay-x=1; Partitioned'],
    ['with a name that only begins like ours', 'relay-=1'],
    ['with a name in another case', 'Relay-x=1'],
  ])('is never set %s', (_what, text) => {
    expect(() => cookie(text)).toThrow('a cookie that is not allowed')
  })

  test('is one of a few', () => {
    expect(() => read({ status: 200, html: 'x', setCookies: Array.from({ length: 17 }, () => 'relay-x=1') })).toThrow('cookie')
  })

  test('is not quoted when it is refused: it is a secret', () => {
    expect(() => cookie('session=hunter2')).toThrow(expect.objectContaining({ message: expect.not.stringContaining('hunter2') }))
    expect(() => redirect('javascript:hunter2')).toThrow(expect.objectContaining({ message: expect.not.stringContaining('hunter2') }))
  })
})

describe('the cookies that a service is told', () => {
  test('are ours alone', () => {
    expect(ownCookies('session=hunter2; __Host-relay-oauth-1=a=b;relay-oauth-2="c" ; relay=no; xrelay-y=no; relay-')).toBe(
      '__Host-relay-oauth-1=a=b; relay-oauth-2="c"',
    )
    for (const none of [undefined, '', ';', 'session=1', 'relay-x']) expect(ownCookies(none)).toBeUndefined()
  })

  test('are ours alone in whatever else is sent', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (before, after) => {
        const told = ownCookies(`${before};__Host-relay-a=1;${after}`)!
        expect(told.split('; ')).toContain('__Host-relay-a=1')
        for (const each of told.split(';')) expect(each.trim()).toMatch(/^(__Host-)?relay-/)
      }),
    )
  })
})

describe('the page of a failure', () => {
  const id = '3a033cc1-0000-4000-8000-000000000009'

  test('is the sentence and the id of the request, with the status of the problem', () => {
    const { status, headers, body } = failurePage(errors.SERVICE_NOT_CONFIGURED(), id)
    expect(status).toBe(501)
    expect(headers['content-type']).toBe('text/html; charset=utf-8')
    expect(headers['cache-control']).toBe('no-store')
    expect(body).toContain('service behind this route is not configured')
    expect(body).toContain(id)
  })

  test('says when to try again, and asks for no key', () => {
    expect(failurePage(errors.RATE_LIMITED({ retryAfterMs: 2500 }), id).headers['retry-after']).toBe('3')
    expect(failurePage(meshErrors.UNAUTHENTICATED(), id).headers).not.toHaveProperty('www-authenticate')
  })

  test('runs nothing and loads nothing, whatever the sentence says', () => {
    const { body, headers } = failurePage(meshErrors.INVALID_REQUEST({ message: `<script>alert('x')</script>` }), id)
    expect(body).not.toMatch(/<(?:script|img|link|iframe|form)|style="/i)
    expect(body).toContain('&lt;script&gt;')
    expect(headers['content-security-policy']).toMatch(/^default-src 'none'; style-src 'sha256-[^']+'; base-uri 'none'/)
  })
})
