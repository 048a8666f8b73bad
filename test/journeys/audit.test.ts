/** Who did what can be read afterwards: all of it, once, in a chain in which every change shows. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { newApiKey } from '#mesh/api-key.ts'
import { type Receiver, startReceiver } from '../fakes/receiver.ts'
import { full } from '../setup/seed.ts'
import { type Api, type Journey, api, journey, until } from './journey.ts'

interface Entry {
  sequence: number
  event_id: string
  service: string
  action: string
  outcome: string
  reason: string
  actor: string
  key_id: string
  targets: string[]
  request_id: string
  trace_id: string
  source: string
  count: number
}

let harness: Journey
let receiver: Receiver
beforeAll(async () => {
  receiver = await startReceiver()
  harness = await journey({ ownPostgres: true, env: { AUDIT_HEADS_EVERY: '500ms' } })
})
afterAll(async () => {
  await harness?.end()
  await receiver?.close()
})

const as = (apiKey: string): Api => api({ gateways: harness.mesh.gateways, apiKey })
const entriesIn = (ndjson: string): Entry[] =>
  ndjson
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Entry)
/** Every entry of a workspace, oldest first, as operators have it. */
async function entriesOf(workspace: string): Promise<Entry[]> {
  const { code, stdout, stderr } = await harness.mesh.operate('relay-audit', 'export', '--workspace', workspace)
  if (code !== 0) throw new Error(`no export: ${stderr}`)
  return entriesIn(stdout)
}
const verify = () => harness.mesh.operate('relay-audit', 'verify', '--heads', join(harness.mesh.folder, 'audit-heads.ndjson'))

test('a preview and an execute stand in the audit log: who, with which key, on what, how it ended, and where to look further', async () => {
  const made = await harness.api.call('POST', '/access/keys', { body: { name: 'the operator', role: 'operator', actor: 'otto' } })
  const [operator, keyId] = [as(made.body.api_key as string), made.body.key.key_id as string]
  const preview = await operator.preview(receiver.url)
  const run = await operator.execute(preview.body.preview_id as string)
  const found = await until(
    () => harness.api.call('GET', `/access/audit?key_id=${keyId}`),
    ({ body }) => body.events?.length === 2,
  )
  const asked = { actor: 'otto', key_id: keyId, service: 'actions', outcome: 'success', source: '127.0.0.1', count: 1 }
  expect(found.body.events).toMatchObject([
    {
      ...asked,
      action: 'actions.execute',
      targets: expect.arrayContaining([`run:${run.body.run_id}`, `preview:${preview.body.preview_id}`]),
      request_id: run.headers['x-request-id'],
    },
    { ...asked, action: 'actions.preview', targets: [`preview:${preview.body.preview_id}`], request_id: preview.headers['x-request-id'] },
  ])
  // The same trace as in the gateway's log, which is written a moment later.
  const log = () => readFileSync(join(harness.mesh.folder, 'logs/gateway.log'), 'utf8').split('\n')
  for (const { request_id, trace_id } of found.body.events as Entry[]) {
    expect(trace_id).toMatch(/^[0-9a-f]{32}$/)
    const line = await until(
      async () => log().find((each) => each.includes(request_id)),
      (each) => each !== undefined,
    )
    expect(line).toContain(trace_id)
  }
  const creation = await harness.api.call('GET', `/access/audit?action=keys.create&target=key:${keyId}`)
  expect(creation.body.events).toMatchObject([{ actor: 'local', outcome: 'success', service: 'access' }])
  for (const secret of [made.body.api_key, harness.mesh.apiKey]) expect(found.text + creation.text).not.toContain(secret)

  expect((await operator.call('GET', '/access/audit')).status).toBe(403)
})

test('an export is followed by its Link to the end, each entry once and in order', async () => {
  for (let count = 0; count < 6; count += 1) await harness.api.previewId(receiver.url)
  await until(
    () => harness.api.call('GET', '/access/audit?action=actions.preview&actor=local'),
    ({ body }) => body.events?.length >= 6,
  )
  const pages: string[] = []
  for (let path: string | undefined = '/access/audit/export?page_size=3'; path !== undefined;) {
    const page = await harness.api.call('GET', path)
    expect(page.headers['content-type']).toBe('application/x-ndjson')
    pages.push(page.text)
    const next = /^<([^>]+)>; rel="next"$/.exec(String(page.headers['link'] ?? ''))?.[1]
    const target = next === undefined ? undefined : new URL(next, harness.mesh.gateway)
    path = target === undefined ? undefined : target.pathname + target.search
  }
  expect(pages.length).toBeGreaterThan(2)
  const entries = entriesIn(pages.join(''))
  expect(entries.map(({ sequence }) => sequence)).toEqual(entries.map((_, index) => index + 1))
  expect(entries).toEqual((await entriesOf('default')).slice(0, entries.length))
})

/** Access is killed after each quarter of them but the last. */
const manyActs = full ? 1000 : 400

test(`${manyActs} acts while access is killed and started again three times: none lost, none twice, and the chain is whole`, async () => {
  const clients = as(await harness.mesh.createKey({ workspace: 'crowd', role: 'admin', actor: 'carla' }))
  await clients.list()
  const acts: string[] = []
  const callers = Array.from({ length: 8 }, async () => {
    while (acts.length < manyActs) {
      const previewId = await clients.previewId(receiver.url)
      acts.push(`preview:${previewId}`)
      if (acts.length % 10 !== 0) continue
      const run = await clients.execute(previewId)
      acts.push(`run:${run.body.run_id}`)
    }
  })
  for (const kill of [1, 2, 3]) {
    await until(
      async () => acts.length,
      (count) => count >= (kill * manyActs) / 4,
      60_000,
    )
    await harness.mesh.process('access').kill('SIGKILL')
    // Some of it happens while nobody can be told.
    await until(
      async () => acts.length,
      (count) => count >= (kill * manyActs) / 4 + 50,
      60_000,
    )
    await harness.mesh.process('access').restart()
  }
  await Promise.all(callers)
  // And the key itself, which was made.
  const newest = () => clients.call('GET', '/access/audit?page_size=1')
  await until(newest, ({ body }) => body.events?.[0]?.sequence >= acts.length + 1, 30_000)

  const entries = await entriesOf('crowd')
  expect(entries.map(({ sequence }) => sequence)).toEqual(Array.from({ length: acts.length + 1 }, (_, index) => index + 1))
  expect(new Set(entries.map(({ event_id }) => event_id)).size).toBe(entries.length)
  const told = entries.filter(({ service }) => service === 'actions')
  const target = ({ action, targets }: Entry) =>
    targets.find((each) => each.startsWith(action === 'actions.execute' ? 'run:' : 'preview:'))!
  expect(told.map(target).sort()).toEqual(acts.toSorted())
  expect(await verify()).toMatchObject({ code: 0, stdout: expect.stringMatching(/^intact: \d+ workspaces, \d+ entries, \d+ heads/) })
}, 120_000)

test('a flood of refusals is one counted event a source and minute', async () => {
  const [unknown, again] = [Array.from({ length: 100 }, () => newApiKey('local')), newApiKey('local')]
  const signIns = [...unknown, ...Array.from({ length: 100 }, () => again), ...Array.from({ length: 100 }, () => 'rly_local_nonsense')]
  const viewerKey = await harness.mesh.createKey({ workspace: 'flood', role: 'viewer', actor: 'vera' })
  const refused = await Promise.all([
    ...signIns.map(async (key) => (await as(key).list()).status),
    ...Array.from({ length: 100 }, async () => (await as(viewerKey).preview(receiver.url)).status),
  ])
  expect(refused).toEqual([...signIns.map(() => 401), ...Array.from({ length: 100 }, () => 403)])
  // The minute under way is told of at a stop.
  for (const name of ['gateway', 'actions', 'access']) await harness.mesh.process(name).stop()
  for (const name of ['access', 'actions', 'gateway']) await harness.mesh.process(name).restart()

  const counted = (entries: Entry[], action: string) => entries.filter((each) => each.action === action && each.source === '127.0.0.1')
  const sum = (entries: Entry[]) => entries.reduce((total, { count }) => total + count, 0)
  // It may have begun in one minute and ended in the next; and who refuses is the gateway by what it knows already, else access.
  const max = 2
  const strangers = counted(await entriesOf(''), 'sign_in.refused')
  expect(sum(strangers)).toBe(signIns.length)
  const kinds = new Set(strangers.map(({ service, reason }) => `${service} ${reason}`))
  expect(kinds.size).toBeLessThanOrEqual(3)
  expect(strangers.length).toBeLessThanOrEqual(max * kinds.size)
  const vera = counted(await entriesOf('flood'), 'permission.refused')
  expect(sum(vera)).toBe(100)
  expect(vera.length).toBeLessThanOrEqual(max)
  expect(vera[0]).toMatchObject({ actor: 'vera', outcome: 'refused', reason: 'PERMISSION_DENIED' })
  for (const key of [...unknown, again, viewerKey]) expect(JSON.stringify([strangers, vera])).not.toContain(key)
})

test('a cut end shows: verify names the first entry that is gone, by the heads that left the database', async () => {
  const before = await entriesOf('crowd')
  const heads = () => readFileSync(join(harness.mesh.folder, 'audit-heads.ndjson'), 'utf8')
  await until(
    async () => heads(),
    (text) => text.includes(`"workspace":"crowd","sequence":${before.length},`),
  )
  const database = new Client({ connectionString: harness.mesh.postgres!.url('relay_access') })
  await database.connect()
  try {
    await database.query('DELETE FROM audit_events WHERE workspace = $1 AND sequence > $2', ['crowd', before.length - 3])
  } finally {
    await database.end()
  }
  const verdict = await verify()
  expect(verdict.code).toBe(1)
  expect(verdict.stdout).toMatch(new RegExp(`crowd.*\\b${before.length - 2}\\b`))
})
