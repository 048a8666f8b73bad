/** A person settles a run whose outcome is unknown: over HTTP, with real keys, to the answer that its key gives afterwards. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Receiver, startReceiver } from '../fakes/receiver.ts'
import { type Api, type Journey, api, journey, until } from './journey.ts'

let harness: Journey
let receiver: Receiver
beforeAll(async () => {
  // The request is read, and nothing is answered: whether it took effect nobody can tell from here.
  receiver = await startReceiver({ respond: () => ({ drop: 'before' }) })
  harness = await journey()
})
afterAll(async () => {
  await harness?.end()
  await receiver?.close()
})

const keyOf = async (role: 'viewer' | 'operator' | 'developer' | 'admin', workspace = 'default'): Promise<Api> =>
  api({ gateways: harness.mesh.gateways, apiKey: await harness.mesh.createKey({ workspace, role, actor: `the-${role}` }) })
const settle = (by: Api, runId: string, body: object) => by.call('POST', `/actions/runs/${runId}/settle`, { body })
const verdict = { verdict: 'did_not_happen', reason: 'The receiver has no such delivery in its log.' }

test('an admin, and no other role, settles an unknown run; the run, its list and its key then return the settled outcome', async () => {
  const key = randomUUID()
  const previewId = await harness.api.previewId(receiver.url)
  const unknown = await harness.api.execute(previewId, key)
  expect(unknown.body).toMatchObject({ status: 'unknown' })
  const runId = unknown.body.run_id as string
  for (const role of ['viewer', 'operator', 'developer'] as const) {
    expect(await settle(await keyOf(role), runId, verdict), role).toMatchObject({ status: 403, body: { reason: 'PERMISSION_DENIED' } })
  }
  expect(await settle(await keyOf('admin', 'other'), runId, verdict)).toMatchObject({ status: 404, body: { reason: 'RUN_NOT_FOUND' } })
  for (const wrong of [
    { ...verdict, verdict: 'perhaps' },
    { ...verdict, reason: '' },
    { ...verdict, reason: ' ' },
    { ...verdict, reason: 'x'.repeat(501) },
    { ...verdict, reason: 'a\u0007b' },
    { verdict: 'happened' },
  ]) {
    expect(await settle(harness.api, runId, wrong), JSON.stringify(wrong)).toMatchObject({
      status: 400,
      body: { reason: 'INVALID_REQUEST' },
    })
  }
  expect((await harness.api.run(runId)).body.run).toMatchObject({ status: 'unknown', settlement: null })

  const settlement = { ...verdict, settled_by: 'local', settled_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) }
  const settled = { run_id: runId, status: 'failed', error: expect.stringMatching(/^SETTLED: /), settlement }
  const first = await settle(harness.api, runId, verdict)
  expect(first).toMatchObject({ status: 200, body: { run: settled } })
  expect((await settle(harness.api, runId, verdict)).body.run).toEqual(first.body.run)
  expect(await settle(harness.api, runId, { ...verdict, verdict: 'happened' })).toMatchObject({
    status: 409,
    body: { reason: 'RUN_ALREADY_SETTLED', settled_by: 'local' },
  })

  expect((await harness.api.run(runId)).body.run).toMatchObject(settled)
  const listed = (await harness.api.call('GET', '/actions/runs?status=failed')).body.runs as { run_id: string }[]
  expect(listed.find((each) => each.run_id === runId)).toMatchObject(settled)
  // What a person wrote of the run is as much as the rest of what is in it nobody else's.
  const viewed = (await (await keyOf('viewer')).run(runId)).body.run
  expect(viewed).toMatchObject({
    status: 'failed',
    withheld: 'permission',
    settlement: { verdict: 'did_not_happen', reason: '', settled_by: 'local' },
  })
  const replayed = await harness.api.execute(previewId, key)
  expect(replayed.body).toMatchObject({ run_id: runId, status: 'failed', error: expect.stringMatching(/^SETTLED: /) })
  expect(receiver.deliveries).toHaveLength(1)

  const audited = await until(
    () => harness.api.call('GET', `/access/audit?target=run:${runId}`),
    ({ body }) => body.events?.some(({ action }: { action: string }) => action === 'actions.settle'),
  )
  const entry = audited.body.events.find(({ action }: { action: string }) => action === 'actions.settle')
  expect(entry).toMatchObject({ actor: 'local', outcome: 'success', reason: 'DID_NOT_HAPPEN' })
  expect(audited.text).not.toContain(verdict.reason)
})

test('a run whose outcome is known is not settled: 409', async () => {
  const gone = await startReceiver()
  await gone.close()
  const { body } = await harness.api.execute(await harness.api.previewId(gone.url))
  expect(body.status).toBe('failed')
  expect(await settle(harness.api, body.run_id, verdict)).toMatchObject({
    status: 409,
    body: { reason: 'RUN_NOT_UNKNOWN', run_id: body.run_id },
  })
})
