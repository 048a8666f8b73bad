import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { meshErrors } from '#mesh/errors.ts'
import { newNonce, writeReference } from '../../../../services/oauth/connect/state-token.ts'
import { json } from '../authorization-server.ts'
import { type Harness, principal, openHarness, page, visit } from './harness.ts'

let harness: Harness
beforeAll(async () => {
  harness = await openHarness()
})
afterAll(() => harness.close())

const wanted = { provider: 'example', scopes: [], returnTo: '' }

describe('a link', () => {
  const link = async (more: object = {}) =>
    harness.ticketOf((await harness.connectFlow.authorize(principal, { ...wanted, ...more })).startUrl)
  const show = (ticket: string, cookie = '') => harness.connectFlow.start(ticket, cookie, visit)
  const opened = async (ticket: string, cookie = '') => {
    const shown = await show(ticket, cookie)
    return { ticket, formToken: harness.formTokenOf(shown), cookie: harness.cookieOf(shown) }
  }
  const proceed = (sent: { ticket: string; formToken: string; cookie: string }) => harness.connectFlow.proceed(sent, visit)

  test('leads to a page that says for whose workspace and actor it is, at which provider, and what they could do', async () => {
    const by = { ...principal, workspace: 'acme & <co>', actor: 'ann\u202e"' }
    const { startUrl } = await harness.connectFlow.authorize(by, wanted)
    const { status, html, form, setCookies, location, forward } = await show(harness.ticketOf(startUrl))
    expect({ status, form, location, forward }).toEqual({ status: 200, form: true, location: '', forward: '' })
    for (const text of [
      'acme &amp; &lt;co&gt;',
      'ann\ufffd&quot;',
      'Example',
      'Send &lt;mail&gt; as you',
      'until you disconnect',
      'someone else send',
    ]) {
      expect(html).toContain(text)
    }
    expect(setCookies).toEqual([
      expect.stringMatching(/^__Host-relay-oauth-form=[A-Za-z0-9_-]{43}; Path=\/; Secure; HttpOnly; SameSite=Strict; Max-Age=600$/),
    ])
  })

  test('may be opened any number of times, by anyone, and redirects no one', async () => {
    const ticket = await link()
    const seen = harness.server.seen.length
    for (let time = 0; time < 20; time += 1) expect((await show(ticket)).forward).toBe('')
    expect(harness.server.seen).toHaveLength(seen)
    expect((await proceed(await opened(ticket))).status).toBe(200)
  })

  test('is followed only by the form of its page, in the browser that was shown it: anything else uses up nothing', async () => {
    const ticket = await link()
    const [mine, theirs, another] = [await opened(ticket), await opened(ticket), await opened(await link())]
    const wrong = [
      { ...mine, formToken: '' },
      { ...mine, cookie: '' },
      { ...mine, cookie: theirs.cookie },
      { ...mine, formToken: another.formToken },
      { ...mine, formToken: newNonce() },
      { ...mine, cookie: `${mine.cookie}; ${mine.cookie}` },
      { ...mine, cookie: mine.cookie.replace('__Host-', '') },
      { ...mine, formToken: mine.cookie.split('=')[1]! },
    ]
    for (const sent of wrong) expect(await proceed(sent)).toEqual(page('otherBrowser'))
    expect((await proceed(mine)).forward).toMatch(`${harness.server.url}/authorize`)
  })

  test('in a second tab of the same browser leaves the first one usable', async () => {
    const [first, second] = [await link(), await link()]
    const one = await opened(first)
    const two = await opened(second, one.cookie)
    expect(two.cookie).toBe(one.cookie)
    for (const each of [one, two]) expect((await proceed(each)).status).toBe(200)
  })

  test('binds the browser by a cookie and redirects it to the provider, storing nothing that either could be derived from', async () => {
    const { answer: response, cookie } = await harness.sentOff()
    expect(response).toMatchObject({ status: 200, location: '', form: false })
    expect(response.setCookies).toEqual([
      expect.stringMatching(/^__Host-relay-oauth-[0-9a-f]{8}=[A-Za-z0-9_-]{43}; Path=\/; Secure; HttpOnly; SameSite=Lax; Max-Age=600$/),
    ])
    const { searchParams, origin, pathname } = new URL(response.forward)
    expect(origin + pathname).toBe(`${harness.server.url}/authorize`)
    expect(response.html).toContain(`href="${response.forward.replaceAll('&', '&amp;')}"`)
    expect(searchParams.get('redirect_uri')).toBe('https://relay.example.com/oauth/example/callback')
    const kept = await harness.everything()
    const nonce = searchParams.get('state')!.split('.')[1]!
    for (const secret of [nonce, cookie.split('=')[1]!]) {
      expect(secret).toHaveLength(43)
      expect(kept).not.toContain(secret)
      expect(kept).not.toContain(Buffer.from(secret).toString('hex'))
    }
  })

  test('works once, even for concurrent requests', async () => {
    const sent = await opened(await link())
    const responses = await Promise.all(Array.from({ length: 20 }, () => proceed(sent)))
    expect(responses.filter(({ status }) => status === 200)).toHaveLength(1)
    expect(responses.filter(({ status }) => status === 410)).toHaveLength(19)
    expect(responses.find(({ status }) => status === 410)).toEqual(page('ended'))
    expect(await show(sent.ticket)).toEqual(page('ended'))
  })

  test('for the browser of one session is useless in any other, and is not used up there', async () => {
    const secret = 'the session of ann'
    const ticket = await link({ session: createHash('sha256').update(secret).digest('hex') })
    const session = `__Host-relay-session=${secret}`
    for (const cookie of ['', '__Host-relay-session=of eve', `relay-session=${secret}`, `${session}; ${session}`]) {
      expect(await show(ticket, cookie)).toEqual(page('otherBrowser'))
    }
    const mine = await opened(ticket, session)
    expect(await proceed(mine)).toEqual(page('otherBrowser'))
    expect((await proceed({ ...mine, cookie: `${mine.cookie}; ${session}` })).status).toBe(200)
  })

  test('of an invalid ticket, one of another workspace, or a state shows that the link is invalid', async () => {
    for (const text of ['', 'x', 'YWNtZQ.short', `YWNtZQ.${'*'.repeat(43)}`]) {
      expect(await show(text)).toEqual(page('malformed'))
      expect(await proceed({ ticket: text, formToken: '', cookie: '' })).toEqual(page('malformed'))
    }
    const [, nonce] = (await link()).split('.')
    expect(await show(writeReference('other', nonce ?? ''))).toEqual(page('ended'))
    const { answer: response } = await harness.sentOff()
    expect(await show(new URL(response.forward).searchParams.get('state')!)).toEqual(page('ended'))
  })

  test('of a provider that was disabled since, or with an unavailable store, says that it is temporarily unavailable', async () => {
    const off = harness.with({ providers: harness.providersWithout() })
    expect(await off.start(await link(), '', visit)).toEqual(page('unavailable'))
    const away = () => Promise.reject(meshErrors.DEPENDENCY_UNAVAILABLE())
    const gone = harness.with({ store: { put: away, find: away, take: away, expire: away } })
    expect(await gone.start(writeReference('acme', newNonce()), '', visit)).toEqual(page('unavailable'))
  })

  test('is not used up by a provider that does not respond during discovery', async () => {
    const sent = await opened(await link({ provider: 'discovered' }))
    harness.server.next('/.well-known/openid-configuration', json(503, {}))
    expect(await proceed(sent)).toEqual(page('unavailable'))
    expect((await proceed(sent)).forward).toMatch(`${harness.server.url}/authorize`)
  })
})
