import fc from 'fast-check'
import { expect, test } from 'vitest'
import { connectedPage, consentPage, forwardPage, reconsentPage, errorPage, words } from '../../../../services/oauth/connect/pages.ts'

/** Tags and attributes of a page, by a reader that knows no more than HTML's own characters. */
const markup = (html: string) => html.match(/<[^>]*>/g)!.map((tag) => tag.replace(/"[^"]*"/g, '""'))

const hostile = fc.oneof(
  fc.string(),
  fc.constantFrom('<script>', '"><img src=x onerror=alert(1)>', "' onload='x", '</title><script>', '<!--', '&lt;', '`${x}`'),
)
const page = (text: string) => [
  connectedPage({ provider: text, account: text, missing: [text], setCookies: [] }).html,
  reconsentPage({ provider: text, startUrl: text, setCookies: [] }).html,
  errorPage('ended', text).html,
  forwardPage({ provider: text, url: text, setCookies: [] }).html,
  consentPage({ workspace: text, actor: text, provider: text, permissions: [text], action: text, formToken: text, setCookies: [] }).html,
]

test('no text becomes markup: pages have the same tags whatever is in them', () => {
  const plain = page('plain').map(markup)
  fc.assert(
    fc.property(hostile, (text) => {
      expect(page(text).map(markup)).toEqual(plain)
    }),
  )
})

test('text stays readable: it is unchanged', () => {
  const text = `<b> & "Ünïcode" 'quoted' \``
  const { html } = connectedPage({ provider: 'Google', account: text, missing: [], setCookies: [] })
  expect(html).toContain('&lt;b&gt; &amp; &quot;Ünïcode&quot; &#39;quoted&#39; &#96; is connected.')
})

test('a page runs nothing, loads nothing, and reveals its address, which contains a code, to no one', () => {
  for (const refusal of Object.keys(words) as (keyof typeof words)[]) {
    const { html, location } = errorPage(refusal, 'the-request-id')
    expect(location).toBe('')
    expect(html).not.toMatch(/<script|<style|<img|<link|<form|\son\w+=|href=|src=/i)
    expect(html).toContain('<meta name="referrer" content="no-referrer">')
    expect(html).toContain('Request the-request-id')
  }
})

test('error pages have only statuses that the gateway returns, and say what to do or that nothing was done', () => {
  for (const { status, text } of Object.values(words)) {
    expect([400, 403, 404, 410, 503]).toContain(status)
    expect(text).toMatch(/Go back|go back|Nothing was connected/)
    // Nothing of how it is made.
    expect(text).not.toMatch(/cookie (?:is|was)|state|nonce|verifier|issuer|token|PKCE|expired/i)
  }
})
