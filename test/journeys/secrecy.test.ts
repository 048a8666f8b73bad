/** The secrets of connecting and sending are said nowhere: in no log, metric, error, page or audit event, whatever goes wrong. */
import { createHash } from 'node:crypto'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { secretsFile } from '../../deploy/local/state/state-dir.ts'
import { serviceNames } from '../../deploy/services.ts'
import { consent, continueFrom } from '../deploy/consent.ts'
import { type Journey, type Reply, journey } from './journey.ts'
import { type Sandbox, sandboxOf } from './sandbox.ts'

let harness: Journey
let sandbox: Sandbox
beforeAll(async () => {
  harness = await journey({ sandbox: true, env: { LOG_LEVEL: 'trace', EXECUTE_WAIT: '10s' } })
  sandbox = sandboxOf(harness)
})
afterAll(() => harness?.end())

/** By what each is: what must not be said. Challenges stand for verifiers, which nobody but the oauth service and the provider sees. */
const secrets = new Map<string, string>()
const challenges = new Set<string>()
/** What was said, by where. */
const said: [string, string][] = []

const names = ['gateway', 'sandbox', ...serviceNames]

const shapes: readonly [string, RegExp][] = [
  ['a token of the sandbox', /sandbox-(?:google|microsoft)-(?:access|refresh)-/],
  ['a Fernet token', /gAAAAA[\w-]{20}/],
  ['a signed token', /eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{20,}/],
]

/** What is found in a text, by name. A verifier is whatever hashes to a challenge (RFC 7636, 4.2). */
function foundIn(text: string): string[] {
  const windows = ([run]: RegExpExecArray) => Array.from({ length: run.length - 42 }, (_, at) => run.slice(at, at + 43))
  const isVerifier = (each: string) => challenges.has(createHash('sha256').update(each).digest('base64url'))
  const verifiers = [...text.matchAll(/[\w.~-]{43,128}/g)].flatMap(windows).filter(isVerifier)
  return [
    ...[...secrets].filter(([, secret]) => text.includes(secret)).map(([name]) => name),
    ...shapes.filter(([, shape]) => shape.test(text)).map(([name]) => name),
    ...verifiers.map(() => 'a verifier'),
  ]
}

interface Visit {
  start: string
  callback: URL
  cookie: string
}

/** A browser's way as far as the redirect back to Relay. */
async function visit(provider: 'google' | 'microsoft', email: string): Promise<Visit> {
  const { start_url: start } = (await harness.api.call('GET', `/oauth/${provider}/authorize`)).body as { start_url: string }
  const { location, cookie } = await continueFrom(start)
  const asked = new URL(location)
  const callback = new URL((await consent(asked, email)).headers.get('location')!)
  challenges.add(asked.searchParams.get('code_challenge')!)
  const of = `of visit ${challenges.size}`
  secrets.set(`the ticket ${of}`, start.split('.').at(-1)!)
  secrets.set(`the state ${of}`, asked.searchParams.get('state')!.split('.').at(-1)!)
  secrets.set(`the code ${of}`, callback.searchParams.get('code')!)
  for (const [index, each] of cookie.split('; ').entries()) secrets.set(`the cookie ${index + 1} ${of}`, each.split('=')[1]!)
  return { start, callback, cookie }
}

async function open(url: string | URL, cookie = ''): Promise<number> {
  const response = await fetch(url, { redirect: 'manual', headers: { cookie } })
  said.push([`the page of ${new URL(url).pathname.replace(/start\/.*/, 'start')} with ${response.status}`, await response.text()])
  return response.status
}

const note = (where: string, reply: Reply): Reply => {
  said.push([where, `${JSON.stringify(reply.headers)} ${reply.text}`])
  return reply
}

async function send(action: string, after: () => Promise<void> = async () => undefined): Promise<string> {
  const params = { to: ['ada@example.com'], subject: 'Hi', text: 'Hi' }
  const shown = note('a preview', await harness.api.call('POST', '/actions/preview', { body: { action, params } }))
  await after()
  const reply = note('an execute', await harness.api.execute(shown.body.preview_id as string))
  return String(reply.body.status)
}

const order = (path: string, status: number) => sandbox.fault({ path, kind: 'status', status, times: 1 })

test('no token, code, state, ticket, cookie, verifier or key is in any log, metric, error, page or audit event, ever', async () => {
  const good = await visit('google', 'you@example.com')
  expect(await open(good.callback, good.cookie)).toBe(200)
  expect(await open(good.callback, good.cookie)).toBe(410)
  expect(await open(good.start)).toBe(410)
  const stolen = await visit('google', 'you@example.com')
  expect(await open(stolen.callback)).toBe(403)
  const forged = await visit('google', 'you@example.com')
  const elsewhere = new URL(forged.callback)
  elsewhere.searchParams.set('code', `${elsewhere.searchParams.get('code')}0`)
  expect(await open(elsewhere, forged.cookie)).toBe(410)
  const broken = await visit('google', 'you@example.com')
  await sandbox.fault({ path: '/oauth2/token', kind: 'lost' })
  expect(await open(broken.callback, broken.cookie)).toBeGreaterThanOrEqual(400)
  const outlook = await visit('microsoft', 'you@outlook.example.com')
  expect(await open(outlook.callback, outlook.cookie)).toBe(200)

  for (const action of ['gmail.send_email', 'outlook.send_email']) {
    expect(await send(action)).toBe('success')
    expect(await send(action, () => sandbox.tokens('expire'))).toBe('success')
  }
  for (const status of [400, 403]) expect(await send('gmail.send_email', () => order('/gmail/v1/users/*/drafts', status))).toBe('failed')
  await send('gmail.send_email', async () => {
    await sandbox.tokens('expire')
    await order('/oauth2/token', 500)
  })
  await sandbox.calm()
  await sandbox.tokens('revoke')
  for (const action of ['gmail.send_email', 'outlook.send_email']) await send(action)
  const listed = note('the connections', await harness.api.call('GET', '/oauth/connections'))
  for (const { connection_id: id } of listed.body.connections as { connection_id: string }[]) {
    note('a disconnect', await harness.api.call('DELETE', `/oauth/connections/${id}`))
  }
  note('a refused key', await harness.api.call('GET', '/actions', { headers: { authorization: `Bearer ${harness.mesh.apiKey}0` } }))

  const kept = JSON.parse(readFileSync(secretsFile(harness.mesh.folder), 'utf8')) as Record<string, string>
  expect(Object.keys(kept)).toEqual(expect.arrayContaining(['oauth_encryption_key', 'sandbox_client_secret', 'api_key']))
  for (const [name, secret] of Object.entries(kept)) secrets.set(`the secret "${name}"`, secret)
  secrets.set('the encryption key in hex', Buffer.from(kept.oauth_encryption_key!, 'base64url').toString('hex'))

  said.push(['the audit export', note('the audit export', await harness.api.call('GET', '/access/audit/export')).text])
  for (const name of names) {
    const { admin } = harness.mesh.process(name).listening
    said.push([`the metrics of ${name}`, await (await fetch(`http://${admin}/metrics`)).text()])
  }
  const logs = join(harness.mesh.folder, 'logs')
  for (const file of readdirSync(logs)) said.push([`the log ${file}`, readFileSync(join(logs, file), 'utf8')])
  // That all are there, and say something of what went on.
  const all = new Map(said)
  expect(all.get('the audit export')).toContain('connection.made')
  for (const name of names) {
    expect(all.get(`the log ${name}.log`), name).toContain('listening')
    expect(all.get(`the metrics of ${name}`), name).toContain('# TYPE')
  }

  expect(said.flatMap(([where, text]) => foundIn(text).map((what) => `${what} is in ${where}`))).toEqual([])
}, 60_000)

test('what looks for them finds each', () => {
  for (const [name, secret] of secrets) expect(foundIn(`{"it":"${secret}"}`)).toContain(name)
  const verifier = 'aB3-_'.repeat(9).slice(0, 43)
  challenges.add(createHash('sha256').update(verifier).digest('base64url'))
  expect(foundIn(`code_verifier=${verifier}&x`)).toEqual(['a verifier'])
  expect(foundIn('Bearer sandbox-google-access-x')).toEqual(['a token of the sandbox'])
})
