import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { meshErrors } from '#mesh/errors.ts'
import { fakeMesh } from '../fakes/identity.ts'
import { type OAuthStandIn, binding, consent, formBinding, page, startOAuth, usual } from '../fakes/oauth-service.ts'
import { type TestGateway, apiKey, startGateway } from './gateway.ts'

const mesh = fakeMesh()
let oauth: OAuthStandIn
let gateway: TestGateway
beforeAll(async () => {
  oauth = await startOAuth(mesh.verifierFor('oauth'))
  gateway = await startGateway({ UPSTREAMS: upstreams(oauth) }, {}, mesh)
})
afterAll(() => Promise.all([gateway.stop(), oauth.stop()]))
afterEach(() => {
  oauth.requests.length = 0
  oauth.handlers = { ...usual }
})

/** Of the others nothing is asked here. */
const upstreams = ({ address }: { address: string }) => `oauth=${address},access=127.0.0.1:1,actions=127.0.0.1:1`
/** As a browser does: without a key, and without going on by itself. */
const navigate = (path: string, headers: Record<string, string> = {}, { url } = gateway) =>
  fetch(url + path, { redirect: 'manual', headers: { accept: 'text/html', ...headers } })

async function expectFailure(response: Response, status: number, sentence: string | RegExp): Promise<void> {
  const text = await response.text()
  expect(response.status, text).toBe(status)
  expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8')
  expect(response.headers.get('cache-control')).toBe('no-store')
  expect(response.headers.get('content-security-policy')).toMatch(/^default-src 'none'; style-src 'sha256-[^']+'; /)
  expect(text).toMatch(sentence)
  expect(text).toContain(response.headers.get('x-request-id'))
}

describe('a navigation', () => {
  test('needs no key, and is shown a page with the cookie as the service says, whose form may be sent here and nowhere else', async () => {
    const response = await navigate('/oauth/start/dGlja2V0')
    expect(response.status).toBe(200)
    expect(response.headers.getSetCookie()).toEqual([formBinding])
    expect(response.headers.get('content-security-policy')).toContain("form-action 'self';")
    expect(await response.text()).toContain('<form>')
    expect(oauth.requests).toMatchObject([{ method: 'start', request: { ticket: 'dGlja2V0' } }])
  })

  test('may be a form of ours, and goes on by itself to where the service says', async () => {
    const body = new URLSearchParams({ form_token: 'a+b c', unknown: 'x' })
    const headers = { cookie: formBinding.split(';')[0]!, 'sec-fetch-site': 'same-origin', 'sec-fetch-dest': 'document' }
    const response = await fetch(`${gateway.url}/oauth/start/dGlja2V0?form_token=query`, {
      method: 'POST',
      redirect: 'manual',
      headers,
      body,
    })
    expect(response.status).toBe(200)
    expect(response.headers.get('refresh')).toBe(`0;url=${consent}`)
    expect(response.headers.get('content-security-policy')).toContain("form-action 'none';")
    expect(response.headers.getSetCookie()).toEqual([binding])
    const request = { ticket: 'dGlja2V0', formToken: 'a+b c', cookie: headers.cookie }
    expect(oauth.requests).toEqual([expect.objectContaining({ method: 'continue', request })])
  })

  test.each([
    ['JSON', 'application/json', '{"form_token":"x"}', 415, /Send Content-Type: application\/x-www-form-urlencoded/],
    ['text', 'text/plain', 'form_token=x', 415, /Send Content-Type: application\/x-www-form-urlencoded/],
    ['longer than any form', 'application/x-www-form-urlencoded', `form_token=${'x'.repeat(20_000)}`, 413, /larger/],
    ['the same field twice', 'application/x-www-form-urlencoded', 'form_token=x&form_token=y', 400, /more than once/],
  ])('does not take a form that is %s', async (_what, type, body, status, sentence) => {
    const response = await fetch(`${gateway.url}/oauth/start/x`, { method: 'POST', headers: { 'content-type': type }, body })
    await expectFailure(response, status, sentence)
    expect(oauth.requests).toEqual([])
  })

  test.each([
    ['100%', 'error_description=100%'],
    ['Latin-1', 'error_description=%FCbel'],
    ['Shift_JIS', 'error_description=%83A%83N%83Z%83X%82%AA%8B%91%94%DB'],
    ['UTF-16', 'error_description=%FE%FF%00a'],
    ['NUL', 'error_description=a%00b'],
    ['an essay', `error_description=${'x'.repeat(9000)}`],
    ['said twice', 'error_description=a&error_description=b&hd=a&hd=b&scope=a&scope=b'],
    ['more than it was before', `scope=${'x'.repeat(5000)}&authuser=${'1'.repeat(100)}&hd=${'h'.repeat(300)}`],
    ['an unknown parameter with broken encoding', '%zz=%&x=%e4&=&&=%'],
    ['an unknown parameter that is called like a key', 'key=1&token=%ff&api_key='],
    ['called like what comes from elsewhere', 'cookie=relay-x%3D1&provider=evil'],
  ])('of a provider whose parameters that nobody reads are %s is told to the service as if they were not there', async (_what, query) => {
    for (const where of [`${query}&state=a.b&error=access_denied`, `state=a.b&error=access_denied&${query}`]) {
      expect((await navigate(`/oauth/google/callback?${where}`)).status).toBe(200)
      const { request } = oauth.requests.pop()!
      expect(request).toMatchObject({
        provider: 'google',
        cookie: '',
        state: 'a.b',
        error: 'access_denied',
        errorDescription: '',
        scope: '',
        hd: '',
      })
      expect(oauth.requests).toEqual([])
    }
  })

  test('is answered a page that nobody keeps, frames or learns the address of', async () => {
    const response = await navigate('/oauth/google/callback?state=a.b&code=c')
    expect(response.status).toBe(200)
    expect(await response.text()).toContain('<h1>Connected</h1>')
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'cache-control': 'no-store',
      'referrer-policy': 'no-referrer',
      'content-security-policy': "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
      'x-frame-options': 'DENY',
      'x-content-type-options': 'nosniff',
      'x-request-id': oauth.requests[0]!.call.requestId,
    })
    expect(response.headers.has('set-cookie')).toBe(false)
  })

  test('may be refused by the service in its own words', async () => {
    oauth.handlers.callback = async () => page({ status: 410, html: '<p>Begin anew' })
    const response = await navigate('/oauth/google/callback?state=a.b&code=c')
    expect(response.status).toBe(410)
    expect(await response.text()).toBe('<p>Begin anew')
  })

  test('tells the service our cookies, the address and no other header, not even a key', async () => {
    await navigate('/oauth/google/callback?state=a.b&code=c', {
      cookie: 'session=hunter2; __Host-relay-oauth-1a2b3c4d=c2VjcmV0',
      authorization: `Bearer ${apiKey}`,
      'x-relay-caller': 'x',
    })
    const { request, call } = oauth.requests[0]!
    expect(request).toMatchObject({ provider: 'google', state: 'a.b', code: 'c', cookie: '__Host-relay-oauth-1a2b3c4d=c2VjcmV0' })
    expect(call).toMatchObject({ caller: undefined, peer: 'gateway', source: '127.0.0.1' })
    expect(call.callerToken).toBeUndefined()
  })

  test('may come with a cookie header that is larger than the contract takes, where only others fill it', async () => {
    const { status } = await navigate('/oauth/google/callback?state=a.b&code=c', { cookie: `session=${'x'.repeat(9000)}; relay-oauth-1=y` })
    expect(status).toBe(200)
    expect(oauth.requests[0]!.request).toMatchObject({ cookie: 'relay-oauth-1=y' })
  })

  test('may bring what a provider adds of its own: it goes nowhere', async () => {
    const { status } = await navigate('/oauth/microsoft/callback?state=a.b&code=c&client_info=x&a.b=1&__proto__=2&session_state=s&code_=d')
    expect(status).toBe(200)
    expect(oauth.requests[0]!.request).toEqual({
      provider: 'microsoft',
      state: 'a.b',
      code: 'c',
      sessionState: '',
      iss: '',
      error: '',
      errorDescription: '',
      scope: '',
      authuser: '',
      prompt: '',
      hd: '',
      cookie: '',
    })
  })

  test('leaves neither ticket nor code nor state in the log', async () => {
    await navigate('/oauth/start/ticket-hunter2')
    await navigate('/oauth/google/callback?state=state-hunter2&code=code-hunter2', { cookie: 'relay-oauth-1=cookie-hunter2' })
    const endpoints = () => gateway.logged.map(({ endpoint }) => endpoint)
    await expect.poll(endpoints).toEqual(expect.arrayContaining(['/oauth/start/{ticket}', '/oauth/{provider}/callback']))
    expect(JSON.stringify(gateway.logged)).not.toContain('hunter2')
  })
})

describe('a navigation that fails is told so on a page', () => {
  test.each([
    ['a known field is given twice', '/oauth/google/callback?state=a.b&state=c.d', /state is given more than once/],
    ['a field is too long', `/oauth/google/callback?state=${'x'.repeat(600)}`, /state/],
    ['a key is in the query', `/oauth/google/callback?access_token=${apiKey}`, /URL contains a key/],
  ])('when %s, and the service hears nothing', async (_what, path, sentence) => {
    await expectFailure(await navigate(path), 400, sentence)
    expect(oauth.requests).toEqual([])
  })

  test.each([
    ['the percent-encoding is broken', '/oauth/start/%zz', 400, /percent-encoding/],
    ['it is not UTF-8', '/oauth/google%ff/callback?state=a.b', 400, /percent-encoding/],
    ['a part is too long', `/oauth/start/${'x'.repeat(2000)}`, 414, /too long/],
  ])('when %s in a path that the router does not take', async (_what, path, status, sentence) => {
    await expectFailure(await navigate(path), status, sentence)
    expect(oauth.requests).toEqual([])
    // It is a page for a browser alone: what is called by programs goes on to be answered a document.
    for (const [method, other] of [
      ['PUT', path],
      ['GET', path.replace('oauth', 'actions')],
    ] as const) {
      const response = await fetch(gateway.url + other, { method })
      expect(response.headers.get('content-type'), other).toContain('application/problem+json')
    }
  })

  test('when its cookies of ours are more than a browser ever has', async () => {
    const cookie = `relay-x=${'x'.repeat(9000)}`
    await expectFailure(await navigate('/oauth/google/callback', { cookie }), 400, /Cookie/)
    expect(oauth.requests).toEqual([])
  })

  test('when it says its cookies twice, which no browser does', async () => {
    const cookies = 'Cookie: relay-x=1\r\nCookie: relay-x=2\r\n'
    const answer = await gateway.raw(`GET /oauth/google/callback HTTP/1.1\r\nHost: a\r\n${cookies}\r\n`)
    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    expect(answer).toContain('text/html')
    expect(oauth.requests).toEqual([])
  })

  test('when the service fails, with nothing of why', async () => {
    oauth.handlers.start = async () => {
      throw new Error('password=hunter2')
    }
    const response = await navigate('/oauth/start/x')
    await expectFailure(response, 500, /An internal error occurred/)
    expect(response.headers.getSetCookie()).toEqual([])
  })

  test('when something else is away: 503 and when to come back', async () => {
    oauth.handlers.start = async () => {
      throw meshErrors.DEPENDENCY_UNAVAILABLE({ retryAfterMs: 4000 })
    }
    const response = await navigate('/oauth/start/x')
    expect(response.headers.get('retry-after')).toBe('4')
    await expectFailure(response, 503, /does not respond/)
  })

  test.each([
    ['goes to another scheme', page({ status: 302, location: 'javascript:hunter2', setCookies: [binding] })],
    ['sets a cookie that is not ours', page({ html: 'hunter2', setCookies: ['session=hunter2'] })],
    ['has a status of its own', page({ status: 201, html: 'hunter2' })],
  ])('when the page of the service %s: nothing of it is sent', async (_what, answer) => {
    oauth.handlers.start = async () => answer
    const response = await navigate('/oauth/start/x')
    expect(response.headers.has('location')).toBe(false)
    expect(response.headers.getSetCookie()).toEqual([])
    const text = await response.clone().text()
    expect(text).not.toContain('hunter2')
    await expectFailure(response, 500, /under this request id/)
    await expect.poll(() => gateway.logged.some(({ request_id: id }) => id === response.headers.get('x-request-id'))).toBe(true)
    expect(JSON.stringify(gateway.logged)).not.toContain('hunter2')
  })

  test('when its address asks too often', async () => {
    const busy = await startGateway({ UPSTREAMS: upstreams(oauth), ADDRESS_LIMIT: '2' }, {}, mesh)
    try {
      for (let count = 0; count < 2; count += 1) expect((await navigate('/oauth/start/x', {}, busy)).status).toBe(200)
      const refused = await navigate('/oauth/start/x', {}, busy)
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
      await expectFailure(refused, 429, /Rate limit of this address exceeded/)
      // Calls count with them.
      expect((await busy.call('/oauth/connections')).status).toBe(429)
    } finally {
      await busy.stop()
    }
  })
})

describe('what looks before a person does', () => {
  const paths = ['/oauth/start/dGlja2V0', '/oauth/google/callback?state=a.b&code=c']
  const cookie = '__Host-relay-oauth-1a2b3c4d=c2VjcmV0'
  test.each([
    ['a prefetch', { 'sec-purpose': 'prefetch' }],
    ['a prerender', { 'sec-purpose': 'prefetch;prerender' }],
    ['a prefetch of an older browser', { purpose: 'prefetch' }],
    ['a prefetch of Firefox as it was', { 'x-moz': 'prefetch' }],
    ['a preview of Safari', { 'x-purpose': 'preview' }],
    ['an image', { 'sec-fetch-dest': 'image', 'sec-fetch-mode': 'no-cors' }],
    ['a frame', { 'sec-fetch-dest': 'iframe', 'sec-fetch-mode': 'navigate' }],
    ['a script', { 'sec-fetch-dest': 'empty', 'sec-fetch-mode': 'cors' }],
  ])('reaches no service as %s', async (_what, headers: Record<string, string>) => {
    for (const path of paths) await expectFailure(await navigate(path, { ...headers, cookie }), 403, /Nothing was done/)
    expect(oauth.requests).toEqual([])
    for (const path of paths)
      expect((await navigate(path, { 'sec-fetch-dest': 'document', 'sec-fetch-site': 'cross-site', cookie })).status).toBe(200)
  })

  test.each(['cross-site', 'same-site', 'none'])('sends no form from a page that is %s', async (site) => {
    const headers = { 'sec-fetch-site': site, 'sec-fetch-dest': 'document', cookie }
    const response = await fetch(gateway.url + paths[0]!, { method: 'POST', headers, body: new URLSearchParams({ form_token: 'x' }) })
    await expectFailure(response, 403, /Nothing was done/)
    expect(oauth.requests).toEqual([])
  })

  test.each(['/oauth/start/dGlja2V0', '/oauth/google/callback?state=a.b&code=c', '/oauth/google/authorize'])(
    'uses nothing up by HEAD: %s',
    async (path) => {
      const response = await gateway.call(path, { method: 'HEAD' })
      expect([404, 405]).toContain(response.status)
      expect(oauth.requests).toEqual([])
    },
  )
})

describe('the calls of the same service', () => {
  test.each([
    ['GET', '/oauth/google/authorize'],
    ['GET', '/oauth/connections'],
    ['DELETE', '/oauth/connections/5c0d1c1e-0000-4000-8000-000000000001'],
  ])('need a key: %s %s', async (method, path) => {
    const response = await fetch(gateway.url + path, { method })
    expect(response.status).toBe(401)
    expect(response.headers.get('content-type')).toBe('application/problem+json; charset=utf-8')
    expect(oauth.requests).toEqual([])
  })

  test('begin a connection by a link of which no cache keeps a copy', async () => {
    const response = await gateway.call('/oauth/google/authorize?scopes=a&scopes=b&return_to=https://studio.example/done')
    expect(await response.json()).toMatchObject({ start_url: 'https://relay.example/oauth/start/dGlja2V0', scopes: ['a', 'b'] })
    expect(response.headers.get('cache-control')).toBe('no-store')
    expect(oauth.requests[0]!.request).toMatchObject({ provider: 'google', returnTo: 'https://studio.example/done' })
    expect(oauth.requests[0]!.call.caller).toMatchObject({ actor: 'tester' })
  })

  test('refuse what the contract does not name', async () => {
    const response = await gateway.call('/oauth/google/authorize?client_info=x')
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ violations: [{ field: 'client_info' }] })
  })
})

describe('a mesh without oauth', () => {
  let without: TestGateway
  beforeAll(async () => {
    without = await startGateway()
  })
  afterAll(() => without.stop())

  test('serves everything else, and is ready', async () => {
    expect((await without.call('/actions')).status).toBe(200)
    expect((await fetch(`${without.url}/ready`)).status).toBe(200)
  })

  test('says to callers that it has none: 501', async () => {
    const response = await without.call('/oauth/connections')
    expect(response.status).toBe(501)
    expect(await response.json()).toMatchObject({ reason: 'SERVICE_NOT_CONFIGURED', service: 'oauth' })
    expect((await fetch(`${without.url}/oauth/connections`)).status).toBe(401)
  })

  test('says so to browsers on a page', async () => {
    await expectFailure(await navigate('/oauth/start/x', {}, without), 501, /service behind this route is not configured/)
  })
})
