/** A crash at any point never acts twice. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Receiver, startReceiver } from '../fakes/receiver.ts'
import { type Journey, type Reply, journey, until } from './journey.ts'

let harness: Journey
let receiver: Receiver
let held = Promise.withResolvers<void>()
beforeAll(async () => {
  receiver = await startReceiver({
    respond: async () => {
      await held.promise
      return {}
    },
  })
  harness = await journey({ ownPostgres: true })
})
afterAll(async () => {
  held.resolve()
  await harness?.end()
  await receiver?.close()
})

/** Kills actions between the delivery and its outcome, starts it again, and waits for what the run becomes. */
async function crashAfterDelivery(params: object): Promise<{ key: string; ended: Reply; ids: string[] }> {
  held = Promise.withResolvers()
  const before = receiver.deliveries.length
  const [previewId, key] = [await harness.api.previewId(receiver.url, params), `k-${randomUUID()}`]
  const asking = harness.api.execute(previewId, key).catch(() => undefined)
  await receiver.waitForDeliveries(before + 1)
  await harness.mesh.process('actions').kill('SIGKILL')
  // The caller is told that it is not known: no run ended.
  const told = await asking
  expect([undefined, 503, 504]).toContain(told?.status)
  held.resolve()
  await harness.mesh.process('actions').restart()
  const ended = await until(
    () => harness.api.execute('expired-or-invalid', key),
    ({ status }) => status === 200,
  )
  return { key, ended, ids: receiver.deliveries.slice(before).map(({ headers }) => String(headers['webhook-id'])) }
}

test('killed between delivery and outcome, a run is never delivered again: it ends as unknown, and says what to check', async () => {
  const { ended, ids } = await crashAfterDelivery({})
  expect(ended.body).toMatchObject({ status: 'unknown', error: expect.stringMatching(/^WEBHOOK_OUTCOME_LOST: /) })
  expect(ids).toEqual([ended.body.run_id])
})

test('where the preview showed that it would be, it is delivered again with the same id, and ends as success', async () => {
  const { ended, ids } = await crashAfterDelivery({ redeliver_after_crash: true })
  expect(ended.body.status).toBe('success')
  expect(ids).toEqual([ended.body.run_id, ended.body.run_id])
})

test('the claim of a run that was reconciled is completed: its key answers although its preview is gone', async () => {
  const { key, ended } = await crashAfterDelivery({})
  const metrics = async () => (await fetch(`http://${harness.mesh.services['actions']!.admin}/metrics`)).text()
  await until(metrics, (text) => /^action_outbox_backlog\S* 0$/m.test(text))
  expect((await harness.api.execute('expired-or-invalid', key)).body.run_id).toBe(ended.body.run_id)
})

test('idempotency, killed and restarted, forgets nothing, and nothing is done while it is unavailable', async () => {
  held.resolve()
  const [previewId, key] = [await harness.api.previewId(receiver.url), `k-${randomUUID()}`]
  const first = await harness.api.execute(previewId, key)
  expect(first.status).toBe(200)
  const fresh = await harness.api.previewId(receiver.url)
  const before = receiver.deliveries.length
  await harness.mesh.process('idempotency').kill('SIGKILL')
  const refused = await harness.api.execute(fresh, `k-${randomUUID()}`)
  expect(refused).toMatchObject({ status: 503, body: { reason: 'DEPENDENCY_UNAVAILABLE' } })
  expect(refused.headers['retry-after']).toMatch(/^[1-9]\d*$/)
  expect(receiver.deliveries).toHaveLength(before)
  await harness.mesh.process('idempotency').restart()
  const again = await until(
    () => harness.api.execute('expired-or-invalid', key),
    ({ status }) => status === 200,
  )
  expect(again.body.run_id).toBe(first.body.run_id)
})

test('the whole mesh stopped and started again has its runs and keys', async () => {
  held.resolve()
  const key = `k-${randomUUID()}`
  const first = await harness.api.execute(await harness.api.previewId(receiver.url), key)
  for (const name of ['gateway', 'actions', 'idempotency', 'ratelimit', 'access']) await harness.mesh.process(name).stop()
  await harness.mesh.postgres!.stop()
  await harness.mesh.postgres!.start()
  for (const name of ['access', 'idempotency', 'ratelimit', 'actions', 'gateway']) await harness.mesh.process(name).restart()
  expect((await harness.api.execute('expired-or-invalid', key)).body.run_id).toBe(first.body.run_id)
  expect((await harness.api.run(first.body.run_id as string)).body.run.status).toBe('success')
})
