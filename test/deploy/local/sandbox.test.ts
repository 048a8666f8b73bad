/** The sandbox's guard over emulate: it refuses what real providers refuse, and what it was told to lose was really done. */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { request } from 'node:http'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { compileCache } from '../../setup/compile-cache.ts'
import { decodeWords } from '../../../deploy/sandbox/inbox.ts'
import type { StoredTokens } from '../../../deploy/sandbox/tokens.ts'
import { consent } from '../consent.ts'
import { rawMail, redirectUri, startSandboxHarness, type Harness } from '../sandbox-guard.ts'

let harness: Harness
let now = Date.now()
let kept: StoredTokens | undefined
beforeAll(async () => {
  harness = await startSandboxHarness({ now: () => now, keep: (tokens) => (kept = structuredClone(tokens)) })
})
afterEach(async () => {
  now = Date.now()
  await fetch(`${harness.guard.url}/sandbox/faults`, { method: 'DELETE' })
})
afterAll(() => harness?.guard.stop())

const errorOf = async (response: Response): Promise<unknown> => ((await response.json()) as { error: unknown }).error
const providers = ['google', 'microsoft'] as const
const subjects = async (): Promise<unknown[]> => (await harness.inbox()).mails.map(({ subject }) => subject)
const drafts = '/gmail/v1/users/me/drafts'

describe.each(providers)('%s', (provider) => {
  const me = provider === 'google' ? '/gmail/v1/users/me/drafts' : '/v1.0/me/messages'
  const userinfo = provider === 'google' ? '/oauth2/v2/userinfo' : '/oidc/userinfo'
  const email = provider === 'google' ? 'you@example.com' : 'you@outlook.example.com'

  test('consent gives tokens that say whose they are and what they are for', async () => {
    const tokens = await harness.connect(provider, { prompt: 'consent' })
    const claims = JSON.parse(Buffer.from(tokens.id_token!.split('.')[1]!, 'base64url').toString()) as Record<string, string>
    expect(claims).toMatchObject({ email, aud: 'relay', nonce: 'n0nce' })
    expect(claims.iss).toMatch(new RegExp(`^${harness.guard.url}(/[0-9a-f-]{36}/v2.0)?$`))
    expect(tokens.refresh_token).toBeDefined()
    expect(tokens.expires_in).toBe(3600)
    const answer = await harness.api(tokens.access_token, 'GET', userinfo)
    expect(await answer.json()).toMatchObject({ email })
  })

  test.each([
    ['a token that was never issued', async () => 'google_made-up-elsewhere'],
    ['no token', async () => ''],
    ["the other provider's token", async () => (await harness.connect(provider === 'google' ? 'microsoft' : 'google')).access_token],
  ])('%s is refused by the API and by userinfo', async (_, token) => {
    const bearer = await token()
    for (const path of [me, userinfo]) expect((await harness.api(bearer, 'GET', path)).status).toBe(401)
  })

  test('a token is refused once its time is over, and a refreshed one taken', async () => {
    const { access_token, refresh_token } = await harness.connect(provider, { prompt: 'consent' })
    expect((await harness.api(access_token, 'GET', me)).status).toBe(200)
    now += 3_600_000
    expect((await harness.api(access_token, 'GET', me)).status).toBe(401)
    const renewed = await harness.token(provider, { grant_type: 'refresh_token', refresh_token: refresh_token! })
    const tokens = (await renewed.json()) as { access_token: string; refresh_token?: string }
    expect((await harness.api(tokens.access_token, 'GET', me)).status).toBe(200)
    // Microsoft replaces it at each use; Google's stays.
    const again = await harness.token(provider, { grant_type: 'refresh_token', refresh_token: refresh_token! })
    expect(tokens.refresh_token === undefined).toBe(provider === 'google')
    expect(again.status).toBe(provider === 'google' ? 200 : 400)
  })

  test.each([
    ['a wrong verifier', { code_verifier: 'w'.repeat(43) }],
    ['no verifier', { code_verifier: '' }],
    ['another redirect URI', { redirect_uri: `${redirectUri(provider)}/` }],
    ['no redirect URI', { redirect_uri: '' }],
  ])('a code with %s gets nothing, and is used up by it', async (_, edit) => {
    const code = await harness.code(provider)
    expect(await errorOf(await harness.exchange(provider, code, edit))).toBe('invalid_grant')
    expect(await errorOf(await harness.exchange(provider, code))).toBe('invalid_grant')
  })

  test('a code works once, for ten minutes, and for its own client', async () => {
    const code = await harness.code(provider)
    expect(await errorOf(await harness.exchange(provider, code, { client_secret: 'guessed' }))).toBe('invalid_client')
    expect((await harness.exchange(provider, code)).status).toBe(200)
    expect(await errorOf(await harness.exchange(provider, code))).toBe('invalid_grant')
    const late = await harness.code(provider)
    now += 600_000
    expect(await errorOf(await harness.exchange(provider, late))).toBe('invalid_grant')
  })

  test.each([
    ['another redirect URI', { redirect_uri: 'http://127.0.0.1:8080/elsewhere' }],
    ['the right one and a query', { redirect_uri: `${redirectUri(provider)}?next=elsewhere` }],
    ['another client', { client_id: 'somebody' }],
  ])('asking with %s is refused without sending the browser anywhere', async (_, edit) => {
    const response = await fetch(harness.authorizeUrl(provider, edit), { redirect: 'manual' })
    expect([response.status, response.headers.get('location')]).toEqual([400, null])
  })

  test.each([
    ['without PKCE', { code_challenge: undefined, code_challenge_method: undefined }],
    ['with a plain challenge', { code_challenge_method: 'plain' }],
  ])('asking %s is sent back as an invalid request', async (_, edit) => {
    const response = await fetch(harness.authorizeUrl(provider, edit), { redirect: 'manual' })
    expect(response.headers.get('location')).toMatch(new RegExp(`^${redirectUri(provider)}\\?error=invalid_request`))
  })

  test('a consent form that was changed on the way is refused', async () => {
    const changes = { redirect_uri: 'http://evil.example.com/', scope: 'everything', email: 'testuser@gmail.com', state: 'other' }
    for (const [name, value] of Object.entries(changes)) {
      const response = await consent(harness.authorizeUrl(provider), email, { [name]: value })
      expect([response.status, response.headers.get('location')]).toEqual([400, null])
    }
  })

  test('the page offers to deny', async () => {
    const page = await (await fetch(harness.authorizeUrl(provider, { state: 'st' }))).text()
    expect(page).toContain(`${redirectUri(provider)}?error=access_denied&amp;state=st`)
    expect(page.match(/class="user-form"/g)).toHaveLength(2)
  })
})

test('Google issues a refresh token at the first consent, and again only on request; after a revocation, consent is the first again', async () => {
  await harness.order('/sandbox/tokens', { action: 'revoke' })
  const first = await harness.connect('google')
  expect(first.refresh_token).toBeDefined()
  expect((await harness.connect('google')).refresh_token).toBeUndefined()
  expect((await harness.connect('google', { prompt: 'consent' })).refresh_token).toBeDefined()
  const body = new URLSearchParams({ token: first.refresh_token! })
  const revoke = () => fetch(`${harness.guard.url}/oauth2/revoke`, { method: 'POST', body })
  expect((await revoke()).status).toBe(200)
  expect((await harness.api(first.access_token, 'GET', drafts)).status).toBe(401)
  expect((await revoke()).status).toBe(400)
})

test('a call beyond the granted scopes is rejected, and metadata alone shows no text', async () => {
  const { access_token } = await harness.connect('google', { scope: 'https://www.googleapis.com/auth/gmail.send', prompt: 'consent' })
  expect((await harness.api(access_token, 'POST', drafts, { message: { raw: rawMail('no') } })).status).toBe(403)
  const sent = await harness.api(access_token, 'POST', '/gmail/v1/users/me/messages/send', { raw: rawMail('sent directly') })
  expect(sent.status).toBe(200)
  const { id } = (await sent.json()) as { id: string }
  const reader = await harness.connect('google', { scope: 'https://www.googleapis.com/auth/gmail.metadata', prompt: 'consent' })
  expect((await harness.api(reader.access_token, 'GET', `/gmail/v1/users/me/messages/${id}`)).status).toBe(403)
  expect((await harness.api(reader.access_token, 'GET', `/gmail/v1/users/me/messages/${id}?format=metadata`)).status).toBe(200)
  expect((await harness.api(access_token, 'GET', '/drive/v3/files')).status).toBe(404)
})

test('a lost response: the mail was sent, and the caller got nothing', async () => {
  const { access_token } = await harness.connect('google')
  const draft = (await (await harness.api(access_token, 'POST', drafts, { message: { raw: rawMail('lost answer') } })).json()) as {
    id: string
    message: { id: string; threadId: string }
  }
  expect(await subjects()).not.toContain('lost answer')
  await harness.order('/sandbox/faults', { path: `${drafts}/send`, method: 'POST', kind: 'lost' })
  await expect(harness.api(access_token, 'POST', `${drafts}/send`, { id: draft.id })).rejects.toThrow('fetch failed')
  expect((await subjects()).filter((subject) => subject === 'lost answer')).toHaveLength(1)
  // What recovery looks at: the draft is gone, and its thread has a message that was sent.
  expect((await harness.api(access_token, 'GET', `${drafts}/${draft.id}`)).status).toBe(404)
  const thread = await harness.api(access_token, 'GET', `/gmail/v1/users/me/threads/${draft.message.threadId}?format=minimal`)
  expect(await thread.json()).toMatchObject({ messages: [{ labelIds: ['SENT'] }] })
})

test('ordered trouble: a status is answered and nothing is done, as often as was ordered', async () => {
  const { access_token } = await harness.connect('google')
  await harness.order('/sandbox/faults', { path: drafts, method: 'POST', kind: 'status', status: 429, retry_after: 7, times: 2 })
  const create = () => harness.api(access_token, 'POST', drafts, { message: { raw: rawMail('limited') } })
  const refused = await create()
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '7'])
  expect((await create()).status).toBe(429)
  expect((await create()).status).toBe(200)
  await harness.order('/sandbox/faults', { path: '/oauth2/*', kind: 'status', status: 503 })
  expect(await errorOf(await harness.token('google', { grant_type: 'refresh_token', refresh_token: 'x' }))).toBe('temporarily_unavailable')
  expect((await harness.order('/sandbox/faults', { path: drafts, kind: 'explode' })).status).toBe(400)
})

test('drafts are found by their Message-ID, and no others with them', async () => {
  const { access_token } = await harness.connect('google')
  const create = async (id: string): Promise<string> => {
    const raw = Buffer.from(`Message-ID: <${id}@relay>\r\nTo: a@example.com\r\nSubject: ${id}\r\n\r\n.`).toString('base64url')
    return ((await (await harness.api(access_token, 'POST', drafts, { message: { raw } })).json()) as { id: string }).id
  }
  const [one] = [await create('one'), await create('other')]
  const search = async (q: string): Promise<unknown> =>
    (await harness.api(access_token, 'GET', `${drafts}?q=${encodeURIComponent(q)}&maxResults=5`)).json()
  expect(await search('rfc822msgid:one@relay')).toMatchObject({ drafts: [{ id: one }], resultSizeEstimate: 1 })
  expect(await search('rfc822msgid:none@relay')).toEqual({ resultSizeEstimate: 0 })
})

test("a calendar event has the client's own id, and there is never a second of it", async () => {
  const { access_token } = await harness.connect('google')
  const events = '/calendar/v3/calendars/primary/events'
  const [start, end] = [{ dateTime: '2030-01-01T10:00:00Z' }, { dateTime: '2030-01-01T11:00:00Z' }]
  const event = { id: 'abc123def456', summary: 'Tea', start, end }
  await harness.order('/sandbox/faults', { path: events, method: 'POST', kind: 'lost' })
  await expect(harness.api(access_token, 'POST', events, event)).rejects.toThrow('fetch failed')
  const found = await harness.api(access_token, 'GET', `${events}/${event.id}`)
  expect(await found.json()).toMatchObject({ id: event.id, status: 'confirmed', summary: 'Tea' })
  expect((await harness.api(access_token, 'POST', events, event)).status).toBe(409)
  expect((await harness.api(access_token, 'POST', events, { ...event, id: 'NOT-base32hex' })).status).toBe(400)
  expect((await harness.inbox()).events.filter(({ id }) => id === event.id)).toHaveLength(1)
})

test('a Graph draft keeps its immutable id when it is sent, and loses the other', async () => {
  const { access_token } = await harness.connect('microsoft')
  const immutable = { prefer: 'IdType="ImmutableId"' }
  const messages = '/v1.0/me/messages'
  const toRecipients = [{ emailAddress: { address: 'a@example.com' } }]
  const mail = { subject: 'From Outlook', body: { contentType: 'text', content: 'Hi' }, toRecipients }
  const made = (await (await harness.api(access_token, 'POST', messages, mail, immutable)).json()) as { id: string; isDraft: boolean }
  expect(made.isDraft).toBe(true)
  const other = (await (await harness.api(access_token, 'GET', `${messages}/${made.id}`)).json()) as { id: string }
  expect(other.id).not.toBe(made.id)
  expect((await harness.api(access_token, 'POST', `${messages}/${made.id}/send`)).status).toBe(202)
  expect((await harness.api(access_token, 'POST', `${messages}/${made.id}/send`)).status).toBe(400)
  const sent = await harness.api(access_token, 'GET', `${messages}/${made.id}`, undefined, immutable)
  expect(await sent.json()).toMatchObject({ isDraft: false, id: made.id })
  expect((await harness.api(access_token, 'GET', `${messages}/${other.id}`)).status).toBe(404)
  // Only a draft's recipients can be taken away: whether that works tells whether it was sent.
  expect((await harness.api(access_token, 'PATCH', `${messages}/${made.id}`, { toRecipients: [] })).status).toBe(400)
  expect((await harness.inbox()).mails).toContainEqual(
    expect.objectContaining({ subject: 'From Outlook', to: 'a@example.com', text: 'Hi' }),
  )
})

test('a Graph event with a transaction id is made once', async () => {
  const { access_token } = await harness.connect('microsoft')
  const time = { dateTime: '2030-01-01T10:00:00', timeZone: 'UTC' }
  const properties = [{ id: 'String {0} Name run', value: 'r-1' }]
  const event = { subject: 'Once', start: time, end: time, transactionId: 't-1', singleValueExtendedProperties: properties }
  const create = () => harness.api(access_token, 'POST', '/v1.0/me/events', event)
  expect((await create()).status).toBe(201)
  expect((await create()).status).toBe(409)
  expect((await harness.inbox()).events.filter(({ title }) => title === 'Once')).toHaveLength(1)
  const filter = (value: string) => `singleValueExtendedProperties/Any(ep: ep/id eq 'String {0} Name run' and ep/value eq '${value}')`
  const found = async (value: string): Promise<unknown> =>
    (await harness.api(access_token, 'GET', `/v1.0/me/events?${String(new URLSearchParams({ $filter: filter(value) }))}`)).json()
  expect(await found('r-1')).toMatchObject({ value: [{ subject: 'Once' }] })
  expect(await found('r-2')).toEqual({ value: [] })
})

test('the inbox page shows sent content as text, never as markup', async () => {
  const { access_token } = await harness.connect('google')
  await harness.api(access_token, 'POST', '/gmail/v1/users/me/messages/send', { raw: rawMail('<script>alert(1)</script>') })
  const page = await fetch(`${harness.guard.url}/sandbox/inbox`, { headers: { accept: 'text/html' } })
  expect(page.headers.get('content-security-policy')).toContain("default-src 'none'")
  const text = await page.text()
  expect(text).toContain('&lt;script&gt;alert(1)')
  expect(text).not.toContain('<script')
})

test('issued tokens survive a restart, stored only as hashes', async () => {
  const tokens = await harness.connect('google', { prompt: 'consent' })
  const file = JSON.stringify(kept)
  for (const token of [tokens.access_token, tokens.refresh_token!]) {
    expect(file).not.toContain(token)
    expect(file).toContain(createHash('sha256').update(token).digest('base64url'))
  }
  const later = await startSandboxHarness({ kept: JSON.parse(file) as StoredTokens })
  try {
    expect((await later.api(tokens.access_token, 'GET', drafts)).status).toBe(200)
    expect((await later.token('google', { grant_type: 'refresh_token', refresh_token: tokens.refresh_token! })).status).toBe(200)
  } finally {
    await later.guard.stop()
  }
})

/** Asks with any Host and Origin, which fetch does not let through. */
const statusOf = (path: string, headers: Record<string, string>, method = 'GET'): Promise<number | undefined> =>
  new Promise((resolve, reject) => {
    const asking = request(harness.guard.url + path, { method, headers }, (response) => {
      response.resume()
      resolve(response.statusCode)
    })
    asking.once('error', reject).end()
  })

test('a page of another origin can neither read the inbox by a name of its own nor order trouble', async () => {
  expect(await statusOf('/sandbox/inbox', { host: `evil.example.com:${harness.guard.port}` })).toBe(421)
  expect(await statusOf('/sandbox/inbox', { origin: 'http://evil.example.com' })).toBe(403)
  expect(await statusOf('/sandbox/tokens', { 'content-type': 'text/plain' }, 'POST')).toBe(415)
  expect(await statusOf('/sandbox/inbox', {})).toBe(200)
})

/** The sandbox as a process of its own, to its end. */
function ends(env: Record<string, string>): Promise<{ code: number | null; said: string }> {
  const main = new URL('../../../deploy/sandbox/main.ts', import.meta.url).pathname
  const settings = {
    PATH: process.env.PATH ?? '',
    NODE_COMPILE_CACHE: compileCache,
    PUBLIC_URL: 'http://127.0.0.1:8080',
    SANDBOX_CLIENT_SECRET: 'secret',
    ...env,
  }
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [main], { env: settings, timeout: 20_000 }, (_, stdout, stderr) =>
      resolve({ code: child.exitCode, said: stdout + stderr }),
    )
  })
}

test.each([
  ['in production', { RELAY_ENV: 'production' }, 'RELAY_ENV is production'],
  ['on all addresses', { HTTP_LISTEN: '0.0.0.0:0' }, 'HTTP_LISTEN is not 127.0.0.1'],
])('it does not start %s', async (_, env, why) => {
  const { code, said } = await ends(env)
  expect(code).toBe(78)
  expect(said).toContain(why)
})

test('headers with encoded words are shown as they were meant', () => {
  const half = Buffer.from('Grüße, Zoë').toString('base64')
  expect(decodeWords(`=?UTF-8?B?${half}?=`)).toBe('Grüße, Zoë')
  expect(decodeWords('=?UTF-8?Q?Gr=C3?= =?UTF-8?Q?=BC=C3=9Fe_du?= end')).toBe('Grüße du end')
  expect(decodeWords('plain')).toBe('plain')
})
