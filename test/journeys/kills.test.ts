/** Many kills at random points: every delivery at most once, every run ends. Seeded; RELAY_TEST_SEED repeats a run. */
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Receiver, startReceiver } from '../fakes/receiver.ts'
import { full, randomFrom, seed } from '../setup/seed.ts'
import { type Journey, journey, until } from './journey.ts'

let on: Journey
let receiver: Receiver
beforeAll(async () => {
  receiver = await startReceiver()
  on = await journey({ ownPostgres: true, replicas: { actions: 2 }, env: { LOG_LEVEL: 'warn', RUN_LEASE: '1s', EXECUTE_WAIT: '500ms' } })
})
afterAll(async () => {
  await on?.end()
  await receiver?.close()
})

const kills = full ? 100 : 6

test(`${kills} kills of actions, idempotency and Postgres at random points: no run is delivered twice, and every key gets its end`, async () => {
  const random = randomFrom(seed)
  const keys = new Map<string, string>()
  let over = false
  const callers = Array.from({ length: 4 }, async () => {
    while (!over) {
      const key = `k-${randomUUID()}`
      try {
        const previewId = await on.api.previewId(receiver.url)
        keys.set(key, previewId)
        await on.api.execute(previewId, key)
      } catch {
        // Whatever it was: the key is asked about below.
        await pause(20)
      }
    }
  })
  for (let kill = 0; kill < kills; kill += 1) {
    const before = keys.size
    await until(async () => keys.size, (count) => count > before)
    // Any moment is as good as another: that is the point.
    await pause(random() * 40)
    const victim = ['actions', 'actions-2', 'idempotency', 'postgres'][Math.floor(random() * 4)]!
    if (victim === 'postgres') {
      await on.mesh.postgres!.kill()
      await on.mesh.postgres!.start()
    } else {
      await on.mesh.process(victim).kill('SIGKILL')
      await on.mesh.process(victim).restart()
    }
  }
  over = true
  await Promise.all(callers)

  const runs = new Set<string>()
  for (const [key, previewId] of keys) {
    const reply = await until(() => on.api.execute(previewId, key).catch(() => undefined), (each) => each?.status === 200, 60_000)
    expect(['success', 'failed', 'unknown']).toContain(reply!.body.status)
    expect(runs).not.toContain(reply!.body.run_id)
    runs.add(reply!.body.run_id as string)
  }
  const delivered = receiver.deliveries.map(({ headers }) => String(headers['webhook-id']))
  expect(new Set(delivered).size).toBe(delivered.length)
  for (const id of delivered) expect(runs).toContain(id)
}, full ? 1_200_000 : 120_000)
