/** Replicas are replaced one by one under load, while receivers take longer for their answers than an orchestrator usually waits. */
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Receiver, startReceiver } from '../fakes/receiver.ts'
import { type Journey, type Reply, journey } from './journey.ts'

/** More than ten seconds, which is what a process had to end in. */
const slowMs = 11_500

let harness: Journey
let receiver: Receiver
beforeAll(async () => {
  receiver = await startReceiver({ respond: async ({ url }) => (await pause(url === '/slow' ? slowMs : 200), {}) })
  const replicas = { access: 2, idempotency: 2, ratelimit: 2, oauth: 1, actions: 2 }
  harness = await journey({ replicas, env: { LOG_LEVEL: 'warn', RUN_LEASE: '15s', WEBHOOK_TIMEOUT: '20s' } })
})
afterAll(async () => {
  await harness?.end()
  await receiver?.close()
})

test('services are stopped and started again under load: no request fails, no run becomes unknown, however slow its receiver is', async () => {
  const replies: Reply[] = []
  let over = false
  const executes = async (path: string): Promise<void> => {
    const preview = await harness.api.preview(`${receiver.url}${path}`)
    replies.push(preview)
    if (preview.status === 200) replies.push(await harness.api.execute(preview.body.preview_id as string))
  }
  const workers = Array.from({ length: 6 }, async () => {
    while (!over) await executes('/quick')
  })
  const slow = Array.from({ length: 6 }, () => executes('/slow'))
  await receiver.waitForDeliveries(20)
  // Both replicas have slow runs under way when they are told to stop.
  await Promise.all([...Array.from({ length: 6 }, () => executes('/slow')), pause(300).then(() => harness.mesh.process('actions').stop())])
  await harness.mesh.process('actions').restart()
  for (const name of ['idempotency', 'access-2', 'ratelimit', 'actions-2']) {
    await harness.mesh.process(name).stop()
    await harness.mesh.process(name).restart()
  }
  over = true
  await Promise.all([...workers, ...slow])

  const wrong = replies.filter(({ status, body }) => status !== 200 || (body.status !== undefined && body.status !== 'success'))
  expect(wrong.map(({ status, text }) => `${status} ${text.slice(0, 300)}`)).toEqual([])
  const runs = replies.filter(({ body }) => body.run_id !== undefined)
  expect(receiver.deliveries).toHaveLength(runs.length)
  expect(new Set(receiver.deliveries.map(({ headers }) => headers['webhook-id'])).size).toBe(runs.length)
}, 120_000)

test('the gateway is stopped and started again: it answers what it accepted, and what it did not accept never ran', async () => {
  const replies: Reply[] = []
  let [over, refused] = [false, 0]
  const workers = Array.from({ length: 6 }, async () => {
    const before = receiver.deliveries.length
    while (!over) {
      const preview = await harness.api.preview(`${receiver.url}/gateway`).catch(() => undefined)
      if (preview === undefined) {
        refused += 1
        await pause(50)
        continue
      }
      replies.push(preview)
      const executed = await harness.api.execute(preview.body.preview_id as string).catch(() => undefined)
      if (executed === undefined) refused += 1
      else replies.push(executed)
    }
    expect(receiver.deliveries.length).toBeGreaterThan(before)
  })
  await pause(1500)
  const gateway = harness.mesh.process('gateway')
  await gateway.stop()
  await gateway.restart()
  await pause(1000)
  over = true
  await Promise.all(workers)
  const wrong = replies.filter(({ status, body }) => status !== 200 || (body.status !== undefined && body.status !== 'success'))
  expect(wrong.map(({ status, text }) => `${status} ${text.slice(0, 300)}`)).toEqual([])
  expect(refused).toBeGreaterThan(0)
  // One that lost its answer would have been delivered and not been answered.
  const answered = replies.filter(({ body }) => body.run_id !== undefined).length
  expect(receiver.deliveries.filter(({ url }) => url === '/gateway')).toHaveLength(answered)
}, 60_000)
