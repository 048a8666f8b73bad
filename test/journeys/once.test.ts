/** One preview runs at most once, whoever asks how often, on however many replicas. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Receiver, startReceiver } from '../fakes/receiver.ts'
import { type Journey, journey, until } from './journey.ts'

let harness: Journey
let receiver: Receiver
/** Holds the receiver's answers back until it is let go. */
let held = Promise.withResolvers<void>()
beforeAll(async () => {
  receiver = await startReceiver({
    respond: async () => {
      await held.promise
      return { body: 'at last' }
    },
  })
  harness = await journey({ replicas: { actions: 2 }, env: { EXECUTE_WAIT: '1s' } })
})
afterAll(async () => {
  held.resolve()
  await harness?.end()
  await receiver?.close()
})

test.each([
  ['with one key', true],
  ['without a key', false],
] as const)(
  'a hundred at once %s against a slow receiver, across two actions replicas, make one delivery and one run',
  async (_, keyed) => {
    held = Promise.withResolvers()
    const before = receiver.deliveries.length
    const previewId = await harness.api.previewId(receiver.url)
    const key = keyed ? `k-${randomUUID()}` : undefined
    const asking = Array.from({ length: 100 }, () => harness.api.execute(previewId, key))
    await receiver.waitForDeliveries(before + 1)
    // It takes longer than anybody waits: who comes back first is asked to come again.
    expect(await Promise.race(asking)).toMatchObject({ status: 409, body: { reason: 'IN_PROGRESS' } })
    held.resolve()
    const replies = await Promise.all(asking)
    const runs = new Set<string>()
    for (const reply of replies) {
      expect([200, 409]).toContain(reply.status)
      if (reply.status === 409) expect(reply.body.reason).toBe('IN_PROGRESS')
      const settled =
        reply.status === 200
          ? reply
          : await until(
              () => harness.api.execute(previewId, key),
              ({ status }) => status === 200,
            )
      expect(settled.body).toMatchObject({ status: 'success', result: { response: 'at last' } })
      runs.add(settled.body.run_id as string)
    }
    expect(runs.size).toBe(1)
    expect(receiver.deliveries).toHaveLength(before + 1)
  },
)

test('a client that hangs up does not stop its run, and finds it under its key', async () => {
  held = Promise.withResolvers()
  const before = receiver.deliveries.length
  const [previewId, key] = [await harness.api.previewId(receiver.url), `k-${randomUUID()}`]
  const hangUp = new AbortController()
  const asking = fetch(`${harness.mesh.gateway}/actions/execute`, {
    method: 'POST',
    headers: { authorization: `Bearer ${harness.mesh.apiKey}`, 'content-type': 'application/json', 'idempotency-key': key },
    body: JSON.stringify({ preview_id: previewId }),
    signal: hangUp.signal,
  })
  await receiver.waitForDeliveries(before + 1)
  hangUp.abort()
  await expect(asking).rejects.toThrow()
  held.resolve()
  const reply = await until(
    () => harness.api.execute('expired-or-invalid', key),
    ({ status }) => status === 200,
  )
  expect(reply.body.status).toBe('success')
  expect(receiver.deliveries).toHaveLength(before + 1)
})
