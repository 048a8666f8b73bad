/** Many kills at random points: every delivery at most once, every run ends. Seeded; RELAY_TEST_SEED repeats a run. */
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Receiver, startReceiver } from '../fakes/receiver.ts'
import { full, randomFrom, seed } from '../setup/seed.ts'
import { Callers } from './callers.ts'
import { type Journey, journey } from './journey.ts'

let harness: Journey
let receiver: Receiver
beforeAll(async () => {
  receiver = await startReceiver()
  harness = await journey({
    ownPostgres: true,
    replicas: { actions: 2 },
    env: { LOG_LEVEL: 'warn', RUN_LEASE: '1s', EXECUTE_WAIT: '500ms' },
  })
})
afterAll(async () => {
  await harness?.end()
  await receiver?.close()
})

const kills = full ? 100 : 4

test(
  `${kills} kills of actions, idempotency and Postgres at random points: no run is delivered twice, and every key gets its end`,
  async () => {
    const random = randomFrom(seed)
    const callers = new Callers(harness.api, () => harness.api.previewId(receiver.url))
    for (let kill = 0; kill < kills; kill += 1) {
      await callers.another()
      // Any moment is as good as another: that is the point.
      await pause(random() * 40)
      const victim = ['actions', 'actions-2', 'idempotency', 'postgres'][Math.floor(random() * 4)]!
      if (victim === 'postgres') {
        await harness.mesh.postgres!.kill()
        await harness.mesh.postgres!.start()
      } else {
        await harness.mesh.process(victim).kill('SIGKILL')
        await harness.mesh.process(victim).restart()
      }
    }
    await callers.stop()

    const runs = new Set<string>()
    for await (const { body } of callers.ends()) {
      expect(['success', 'failed', 'unknown']).toContain(body.status)
      expect(runs).not.toContain(body.run_id)
      runs.add(body.run_id as string)
    }
    const delivered = receiver.deliveries.map(({ headers }) => String(headers['webhook-id']))
    expect(new Set(delivered).size).toBe(delivered.length)
    for (const id of delivered) expect(runs).toContain(id)
  },
  full ? 1_200_000 : 120_000,
)
