/** Failure is a case: what the mesh does while Redis, Postgres or oauth is away, and afterwards. */
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Redis, startRedis } from '../../deploy/local/redis.ts'
import { type Receiver, startReceiver } from '../fakes/receiver.ts'
import { type Journey, type Reply, journey, until } from './journey.ts'

let harness: Journey
let receiver: Receiver
let redis: Redis
beforeAll(async () => {
  receiver = await startReceiver()
  redis = await startRedis()
  harness = await journey({ ownPostgres: true, redisUrl: redis.url })
})
afterAll(async () => {
  await harness?.end()
  await receiver?.close()
  await redis?.stop()
})

const ready = () => harness.api.call('GET', '/ready')

/** Calls over and over, ten at a time, while `meanwhile` goes on. */
async function underLoad(call: () => Promise<Reply>, meanwhile: () => Promise<void>): Promise<Reply[]> {
  const replies: Reply[] = []
  let over = false
  const callers = Array.from({ length: 10 }, async () => {
    while (!over && replies.length < 20_000) {
      replies.push(await call())
      // What is waited for meanwhile needs the machine too.
      await pause(10)
    }
  })
  const enough = async (more: number) => {
    const from = replies.length
    await until(
      async () => replies.length,
      (count) => count >= from + more,
    )
  }
  await enough(50)
  await meanwhile()
  await enough(50)
  over = true
  await Promise.all(callers)
  return replies
}

test('Redis silent, then gone, then back, under load: no request fails, and it is used again', async () => {
  await until(ready, ({ body }) => body.ready === true && body.checks.redis === true)
  const replies = await underLoad(
    () => harness.api.list(),
    async () => {
      redis.pause()
      await until(ready, ({ body }) => body.checks.redis === false)
      redis.resume()
      await until(ready, ({ body }) => body.checks.redis === true)
      await redis.kill()
      const during = await until(ready, ({ body }) => body.checks.redis === false)
      // It is optional: without it the mesh is ready all the same.
      expect(during).toMatchObject({ status: 200, body: { ready: true } })
    },
  )
  expect([...new Set(replies.map(({ status }) => status))]).toEqual([200])
  redis = await startRedis({ port: redis.port })
  const metrics = async () => (await fetch(`http://${harness.mesh.services['ratelimit']!.admin}/metrics`)).text()
  expect(await metrics()).toMatch(/^ratelimit_fallback_total\S* [1-9]/m)
  const fromRedis = (text: string) => Number(/^ratelimit_decisions_total\{[^}]*source="redis"[^}]*\} (\d+)/m.exec(text)?.[1] ?? 0)
  const before = fromRedis(await metrics())
  await until(
    async () => {
      await harness.api.list()
      return fromRedis(await metrics())
    },
    (count) => count > before,
  )
})

test('Postgres stopped: 503 and no new delivery; started again: everything works without a restart', async () => {
  const key = `k-${randomUUID()}`
  const first = await harness.api.execute(await harness.api.previewId(receiver.url), key)
  const waiting = await harness.api.previewId(receiver.url)
  const delivered = receiver.deliveries.length
  const pids = Object.values(harness.mesh.services).map(({ pid }) => pid)

  await harness.mesh.postgres!.stop()
  for (const reply of [
    await harness.api.execute(waiting, `k-${randomUUID()}`),
    await harness.api.preview(receiver.url),
    await harness.api.execute('expired-or-invalid', key),
  ]) {
    expect(reply).toMatchObject({ status: 503, body: { reason: 'DEPENDENCY_UNAVAILABLE' } })
    expect(reply.headers['retry-after']).toMatch(/^[1-9]\d*$/)
    expect(reply.text).not.toMatch(/ECONNREFUSED|127\.0\.0\.1/)
  }
  expect(await ready()).toMatchObject({ status: 503, body: { ready: false, checks: { actions: false, idempotency: false } } })
  // What needs no database goes on.
  expect((await harness.api.list()).status).toBe(200)
  expect(receiver.deliveries).toHaveLength(delivered)

  await harness.mesh.postgres!.start()
  await until(ready, ({ status }) => status === 200)
  expect((await harness.api.execute('expired-or-invalid', key)).body.run_id).toBe(first.body.run_id)
  expect(
    await until(
      () => harness.api.execute(waiting, `k-${key}`),
      ({ status }) => status === 200,
    ),
  ).toMatchObject({ body: { status: 'success' } })
  expect(receiver.deliveries).toHaveLength(delivered + 1)
  expect(Object.values(harness.mesh.services).map(({ pid }) => pid)).toEqual(pids)
})

test('Postgres killed during a delivery: its outcome is written once it is back, and nothing is delivered twice', async () => {
  const held = Promise.withResolvers<void>()
  const slow = await startReceiver({
    respond: async () => {
      await held.promise
      return { body: 'done' }
    },
  })
  try {
    const [previewId, key] = [await harness.api.previewId(slow.url), `k-${randomUUID()}`]
    const asking = harness.api.execute(previewId, key)
    await slow.waitForDeliveries(1)
    await harness.mesh.postgres!.kill()
    held.resolve()
    await harness.mesh.postgres!.start()
    const reply = await asking
    const ended =
      reply.status === 200
        ? reply
        : await until(
            () => harness.api.execute('expired-or-invalid', key),
            ({ status }) => status === 200,
          )
    expect(ended.body.status).toBe('success')
    expect(slow.deliveries).toHaveLength(1)
  } finally {
    await slow.close()
  }
})

test('oauth killed: the list of actions continues with the last known state of each provider; a preview reports that it is unknown', async () => {
  type Listed = { provider: string; available: boolean; unavailable_reason: string | null }
  const said = async () =>
    (await harness.api.list()).body.actions.map((each: Listed) => [each.provider, each.available, each.unavailable_reason])
  const of = (provider: string) => `The provider ${provider} is not configured here: set ${provider.toUpperCase()}_CLIENT_ID, `
  const unset = (provider: string) => [provider, false, expect.stringContaining(of(provider))]
  const names = ['github', 'github', 'google', 'google', 'microsoft', 'microsoft', 'slack']
  const both = [['independent', true, null], ...names.map(unset)]
  await expect.poll(said, { timeout: 10_000 }).toEqual(both)

  await harness.mesh.process('oauth').kill('SIGKILL')
  const log = join(harness.mesh.folder, 'logs/actions.log')
  await until(
    () => readFile(log, 'utf8'),
    (text) => /"loop":"providers"[^\n]*a round failed/.test(text),
  )
  expect(await said()).toEqual(both)
  const mail = { to: ['ada@example.com'], subject: 'Hi', text: 'Hi' }
  const preview = () => harness.api.call('POST', '/actions/preview', { body: { action: 'gmail.send_email', params: mail } })
  expect(await preview()).toMatchObject({ status: 503, body: { reason: 'DEPENDENCY_UNAVAILABLE' } })
  await harness.mesh.process('oauth').restart()
  expect(await until(preview, ({ status }) => status !== 503)).toMatchObject({ status: 501, body: { reason: 'PROVIDER_NOT_CONFIGURED' } })
})
