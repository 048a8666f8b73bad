/** With no credentials at all: authorize, consent in the sandbox, connected, preview a mail, execute it; the sandbox's inbox has it, once. */
import { randomUUID } from 'node:crypto'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { request } from 'undici'
import { consent, continueFrom } from '../deploy/consent.ts'
import { type Api, type Journey, type Reply, api, journey, until } from './journey.ts'

interface Inbox {
  mails: { subject: string; to: string; from: string; text: string }[]
  events: { id: string; title: string }[]
  posts: { provider: string; content: Record<string, unknown> }[]
}

let harness: Journey
beforeAll(async () => {
  harness = await journey({ sandbox: true, env: { EXECUTE_WAIT: '10s' } })
})
afterEach(() => sandbox('DELETE', '/sandbox/faults'))
afterAll(() => harness?.end())

async function sandbox(method: string, path: string, body?: unknown): Promise<unknown> {
  const sent = body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }
  const response = await request(harness.mesh.sandbox + path, { method: method as 'GET', ...sent })
  const text = await response.body.text()
  if (response.statusCode >= 400) throw new Error(`${path}: ${response.statusCode} ${text}`)
  return text === '' ? undefined : JSON.parse(text)
}
const inbox = async (): Promise<Inbox> => (await sandbox('GET', '/sandbox/inbox')) as Inbox
const mailsOf = async (subject: string) => (await inbox()).mails.filter((mail) => mail.subject === subject)

const startUrl = async (provider: string, query = ''): Promise<string> => {
  const reply = await harness.api.call('GET', `/oauth/${provider}/authorize${query}`)
  expect(reply.status, reply.text).toBe(200)
  return reply.body.start_url as string
}

interface Visit {
  callback: URL
  cookie: string
}

/** As far as the way back to Relay: what a browser then asks for, and with which cookie. */
async function consented(provider: string, email: string, url?: string): Promise<Visit> {
  const { status, location, cookie, text } = await continueFrom(url ?? (await startUrl(provider)))
  expect(status, text).toBe(200)
  const back = await consent(location, email)
  return { callback: new URL(back.headers.get('location')!), cookie }
}
const goBack = ({ callback, cookie }: Visit): Promise<Response> => fetch(callback, { redirect: 'manual', headers: { cookie } })

/** Connects an account to the end, which Relay answers last. Who has granted access before is asked by Relay to grant it once more. */
async function connected(provider: string, email: string, url?: string): Promise<Response> {
  const answer = await goBack(await consented(provider, email, url))
  const onceMore = /href="([^"]*\/oauth\/start\/[^"]*)"/.exec(await answer.clone().text())?.[1]
  return onceMore === undefined ? answer : goBack(await consented(provider, email, onceMore))
}

async function connect(provider: string, email: string): Promise<void> {
  const page = await connected(provider, email)
  expect([page.status, await page.text()]).toEqual([200, expect.stringContaining(email)])
}

const preview = (action: string, params: object): Promise<Reply> =>
  harness.api.call('POST', '/actions/preview', { body: { action, params } })
const mail = (subject: string): object => ({ to: ['ada@example.com'], subject, text: `Text of ${subject}` })
const mailId = async (action: string, subject: string): Promise<string> => {
  const reply = await preview(action, mail(subject))
  expect(reply.status, reply.text).toBe(200)
  return reply.body.preview_id as string
}
const subjectOf = (what: string): string => `${what} ${randomUUID()}`

test('before an account is connected a preview says so, and an execute is refused with where to connect', async () => {
  const shown = await preview('gmail.send_email', mail('too early'))
  expect(shown.body.warnings.join(' ')).toContain('/oauth/google/authorize')
  const reply = await harness.api.execute(shown.body.preview_id as string)
  expect(reply.body).toMatchObject({ status: 409, reason: 'NOT_CONNECTED', authorize_path: '/oauth/google/authorize' })
  expect(await mailsOf('too early')).toEqual([])
})

test('connected in a browser, a mail is shown and then sent once: the same key is the same run, and the inbox has one mail', async () => {
  await connect('google', 'you@example.com')
  const connections = await harness.api.call('GET', '/oauth/connections')
  expect(connections.body.connections).toMatchObject([{ provider: 'google', account: 'you@example.com', status: 'connected' }])

  const subject = subjectOf('Grüße von Relay')
  const shown = await preview('gmail.send_email', mail(subject))
  expect(shown.body.summary).toContain('From: you@example.com')
  expect(shown.body.summary).toContain(`Text of ${subject}`)
  expect(await mailsOf(subject)).toEqual([])

  const key = `k-${randomUUID()}`
  const first = await harness.api.execute(shown.body.preview_id as string, key)
  expect(first.body).toMatchObject({ status: 'success', provider: 'google' })
  expect(await mailsOf(subject)).toMatchObject([{ from: 'you@example.com', to: 'ada@example.com', text: `Text of ${subject}` }])
  const again = await harness.api.execute('expired-or-invalid', key)
  expect(again.body.run_id).toBe(first.body.run_id)
  expect(await mailsOf(subject)).toHaveLength(1)
})

test.each([
  ['gmail.send_email', '/gmail/v1/users/*/drafts/send', 'google', 'you@example.com'],
  ['outlook.send_email', '/v1.0/me/messages/*/send', 'microsoft', 'you@outlook.example.com'],
] as const)('%s whose answer is lost is found to have been sent, and is not sent again', async (action, path, provider, email) => {
  await connect(provider, email)
  const subject = subjectOf('lost')
  const previewId = await mailId(action, subject)
  await sandbox('POST', '/sandbox/faults', { path, method: 'POST', kind: 'lost' })
  const reply = await harness.api.execute(previewId)
  expect(reply.body, reply.text).toMatchObject({ status: 'success' })
  expect(await mailsOf(subject)).toHaveLength(1)
})

test('killed while the mail is being sent, actions finds out what became of it: one mail, and its run ends in success', async () => {
  await connect('google', 'you@example.com')
  const subject = subjectOf('killed')
  const previewId = await mailId('gmail.send_email', subject)
  await sandbox('POST', '/sandbox/faults', { path: '/gmail/v1/users/*/drafts/send', method: 'POST', kind: 'slow', delay_ms: 3000 })
  const key = `k-${randomUUID()}`
  const asking = harness.api.execute(previewId, key).catch(() => undefined)
  // The fault is used up when the call has come in; the answer is three seconds away.
  await until(
    () => sandbox('GET', '/sandbox/faults') as Promise<{ faults: unknown[] }>,
    ({ faults }) => faults.length === 0,
  )
  const actions = harness.mesh.process('actions')
  await actions.kill('SIGKILL')
  await asking
  await actions.restart()
  const ended = ({ status, body }: Reply): boolean => status === 200 && body.status !== 'executing'
  const reply = await until(() => harness.api.execute('expired-or-invalid', key), ended, 40_000)
  expect(reply.body.status, reply.text).toBe('success')
  expect(await mailsOf(subject)).toHaveLength(1)
}, 90_000)

test('events are made with an id that is the run’s own, once though the answer is lost', async () => {
  await connect('google', 'you@example.com')
  await connect('microsoft', 'you@outlook.example.com')
  const at = (hour: string) => ({ date_time: `2027-03-01T${hour}:00`, time_zone: 'Europe/Zurich' })
  for (const [action, path] of [
    ['google_calendar.create_event', '/calendar/v3/calendars/primary/events'],
    ['outlook_calendar.create_event', '/v1.0/me/events'],
  ] as const) {
    const title = subjectOf(action)
    const shown = await preview(action, { title, start: at('10'), end: at('11') })
    expect(shown.status, shown.text).toBe(200)
    await sandbox('POST', '/sandbox/faults', { path, method: 'POST', kind: 'lost' })
    const reply = await harness.api.execute(shown.body.preview_id as string)
    expect(reply.body, reply.text).toMatchObject({ status: 'success' })
    expect((await inbox()).events.filter((event) => event.title === title)).toMatchObject([{ id: reply.body.result.event_id }])
  }
})

test('an expired access token is refreshed without the caller noticing', async () => {
  await connect('google', 'you@example.com')
  const subject = subjectOf('refreshed')
  const previewId = await mailId('gmail.send_email', subject)
  await sandbox('POST', '/sandbox/tokens', { action: 'expire' })
  expect((await harness.api.execute(previewId)).body).toMatchObject({ status: 'success' })
  expect(await mailsOf(subject)).toHaveLength(1)
})

test('access that was revoked at the provider requires reconnecting, and reconnecting repairs it', async () => {
  await connect('google', 'you@example.com')
  await sandbox('POST', '/sandbox/tokens', { action: 'revoke' })
  const reply = await harness.api.execute(await mailId('gmail.send_email', subjectOf('revoked')))
  // Whether it is found out before or while it runs, nothing was sent.
  expect([reply.body.reason, reply.body.status]).toContainEqual(expect.stringMatching(/^(REAUTH_REQUIRED|failed)$/))
  const listed = await harness.api.call('GET', '/oauth/connections')
  const google = (listed.body.connections as { provider: string }[]).find(({ provider }) => provider === 'google')
  expect(google).toMatchObject({ status: 'reauth_required' })
  await connect('google', 'you@example.com')
  expect((await harness.api.execute(await mailId('gmail.send_email', subjectOf('mended')))).body).toMatchObject({ status: 'success' })
})

test('another account than the one that was previewed is refused', async () => {
  await connect('google', 'you@example.com')
  const previewId = await mailId('gmail.send_email', 'whose')
  await connect('google', 'you-too@example.com')
  expect((await harness.api.execute(previewId)).body).toMatchObject({ status: 409, reason: 'CONNECTION_CHANGED' })
  expect(await mailsOf('whose')).toEqual([])
})

test('a link is looked at however often and works once, and a way back without its cookie or a second time connects nothing', async () => {
  const url = await startUrl('google')
  for (let look = 0; look < 3; look += 1) expect((await fetch(url, { redirect: 'manual' })).status).toBe(200)
  const visit = await consented('google', 'you@example.com', url)
  expect((await fetch(url, { redirect: 'manual' })).status).toBe(410)
  expect((await goBack({ ...visit, cookie: '' })).status).toBe(403)
  expect((await goBack(visit)).status).toBe(200)
  const after = await consented('google', 'you@example.com')
  expect((await goBack(after)).status).toBe(200)
  expect((await goBack(after)).status).toBe(410)
})

test('what a key began to connect ends with it when the key that made it is revoked: its link, and the way back from the provider', async () => {
  const as = (apiKey: string) => api({ gateways: harness.mesh.gateways, apiKey })
  const made = async (by: Api, body: object) => {
    const { body: reply, text } = await by.call('POST', '/access/keys', { body: { role: 'developer', ...body } })
    expect(reply.key, text).toBeDefined()
    return { keyId: reply.key.key_id as string, by: as(reply.api_key as string) }
  }
  const actor = `leaver-${randomUUID()}`
  const parent = await made(harness.api, { name: 'revoked', actor })
  const child = await made(parent.by, { name: 'goes with it' })
  const link = async () => (await child.by.call('GET', '/oauth/google/authorize')).body.start_url as string
  const unopened = await link()
  const atProvider = await consented('google', 'you@example.com', await link())
  const open = () => fetch(unopened, { redirect: 'manual' })
  expect((await open()).status).toBe(200)

  expect((await harness.api.call('DELETE', `/access/keys/${parent.keyId}`)).status).toBe(200)
  await until(open, ({ status }) => status === 410, 5000)
  expect((await goBack(atProvider)).status).toBe(410)
  const stays = await made(harness.api, { name: 'looks', actor })
  expect((await stays.by.call('GET', '/oauth/connections')).body.connections).toEqual([])
})

test('the browser is sent on only to an origin that is allowed', async () => {
  const refused = await harness.api.call('GET', '/oauth/google/authorize?return_to=https://evil.example.com/')
  expect(refused.status).toBe(400)
  const url = await startUrl('google', '?return_to=http://localhost:5173/settings')
  const page = await connected('google', 'you@example.com', url)
  expect(page.status).toBe(303)
  expect(page.headers.get('location')).toMatch(/^http:\/\/localhost:5173\/settings\?connected=google&connection_id=[0-9a-f-]{36}$/)
})

test('a person who denies learns that nothing was connected', async () => {
  const { location, cookie } = await continueFrom(await startUrl('google'))
  const page = await (await fetch(location)).text()
  const denial = /<a href="([^"]*error=access_denied[^"]*)">/.exec(page)![1]!.replaceAll('&amp;', '&')
  const callback = new URL(`${denial}&error_description=100%&x=%83A`)
  const answer = await goBack({ callback, cookie })
  expect([answer.status, await answer.text()]).toEqual([403, expect.stringContaining('not granted')])
  expect((await goBack({ callback, cookie })).status).toBe(410)
})

test('without a browser the sandbox acts as one; it visits only Relay and itself', async () => {
  const start_url = await startUrl('google')
  const visited = await sandbox('POST', '/sandbox/consent', { start_url, account: 'you-too@example.com' })
  expect(visited).toMatchObject({ status: 200, page: expect.stringContaining('you-too@example.com is connected') })
  expect(await sandbox('POST', '/sandbox/consent', { start_url })).toMatchObject({ status: 410 })
  await expect(sandbox('POST', '/sandbox/consent', { start_url: 'http://127.0.0.1:1/' })).rejects.toThrow('400')
})

test('disconnected, nothing is sent any more', async () => {
  await connect('microsoft', 'you@outlook.example.com')
  const listed = await harness.api.call('GET', '/oauth/connections')
  const { connection_id: id } = (listed.body.connections as { provider: string; connection_id: string }[]).find(
    ({ provider }) => provider === 'microsoft',
  )!
  const previewId = await mailId('outlook.send_email', 'after all')
  expect((await harness.api.call('DELETE', `/oauth/connections/${id}`)).status).toBe(200)
  expect((await harness.api.execute(previewId)).status).toBe(409)
  expect(await mailsOf('after all')).toEqual([])
})

test('connections outlive a restart of everything, the sandbox with it', async () => {
  await connect('google', 'you@example.com')
  for (const name of ['sandbox', 'oauth', 'actions']) await harness.mesh.process(name).restart()
  const subject = subjectOf('after the restart')
  const shown = await until(
    () => preview('gmail.send_email', mail(subject)),
    ({ status }) => status === 200,
  )
  expect((await harness.api.execute(shown.body.preview_id as string)).body).toMatchObject({ status: 'success' })
  expect(await mailsOf(subject)).toHaveLength(1)
}, 60_000)

test('no token, code or key of all this is in any log, nor in the audit log', async () => {
  const visit = await consented('google', 'you@example.com')
  await goBack(visit)
  const code = visit.callback.searchParams.get('code')!
  const state = visit.callback.searchParams.get('state')!
  const logs = join(harness.mesh.folder, 'logs')
  const written = readdirSync(logs).map((file) => [file, readFileSync(join(logs, file), 'utf8')] as const)
  const audit = await harness.api.call('GET', '/access/audit/export')
  for (const [name, text] of [...written, ['audit', audit.text] as const]) {
    for (const secret of [code, state, visit.cookie.split('=')[1]!]) expect(text.includes(secret), name).toBe(false)
    // Every token of the sandbox begins like this, and Fernet's like that.
    expect(text, name).not.toMatch(/sandbox-(?:google|microsoft)-(?:access|refresh)-|gAAAAA[\w-]{20}/)
  }
  expect(audit.text).toContain('connection.made')
})

test.each([
  ['slack', 'slack.post_message', 'relay@example.slack.example.com', 'relay in Example', { channel: 'C0GENERAL1', text: 'Hi' }],
  ['github', 'github.create_issue', 'you@github.example.com', 'you', { owner: 'example', repo: 'playground', title: 'It is broken' }],
] as const)('%s: connected without a refresh token, %s is shown and done once, also when its response is lost', async (...its) => {
  const [provider, action, email, account, params] = its
  const page = await connected(provider, email)
  expect([page.status, await page.text()]).toEqual([200, expect.stringContaining(account)])
  const listed = (await harness.api.call('GET', '/actions')).body.actions as { action: string; guarantee: string }[]
  expect(listed.find((each) => each.action === action)?.guarantee).toContain('at most once per run')
  const path = provider === 'slack' ? '/slack/api/chat.postMessage' : '/github/api/repos/example/playground/issues'
  for (const fault of [undefined, { path, method: 'POST', kind: 'lost' }]) {
    const before = (await inbox()).posts.length
    if (fault !== undefined) await sandbox('POST', '/sandbox/faults', fault)
    const shown = await preview(action, params)
    expect(shown.status, shown.text).toBe(200)
    expect(shown.body.summary).toContain(account)
    const executed = await harness.api.execute(shown.body.preview_id as string)
    expect(executed.body, executed.text).toMatchObject({ status: 'success' })
    expect((await inbox()).posts.slice(before)).toMatchObject([{ provider }])
  }
  // A token that the provider has revoked cannot be replaced: the account has to be connected again.
  await sandbox('POST', '/sandbox/tokens', { action: 'revoke' })
  const shown = await preview(action, params)
  expect((await harness.api.execute(shown.body.preview_id as string)).body).toMatchObject({ status: 'failed' })
  expect((await preview(action, params)).body.warnings).toEqual([expect.stringContaining('must be connected again')])
})
