/** Kills of actions while it sends mails, every other answer lost: none is sent twice, and what is said of each is true. Seeded. */
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { randomFrom, seed } from '../setup/seed.ts'
import { Callers } from './callers.ts'
import { type Journey, journey } from './journey.ts'
import { type Sandbox, sandboxOf } from './sandbox.ts'

let harness: Journey
let sandbox: Sandbox
beforeAll(async () => {
  harness = await journey({ sandbox: true, replicas: { actions: 2 }, env: { LOG_LEVEL: 'warn', RUN_LEASE: '1s', EXECUTE_WAIT: '500ms' } })
  sandbox = sandboxOf(harness)
  await sandbox.connect('google')
  const often = { method: 'POST', kind: 'lost', times: 1_000_000 }
  await sandbox.fault({ ...often, path: '/gmail/v1/users/*/drafts/send', chance: 0.5 })
  // These are what ends as failed.
  await sandbox.fault({ ...often, path: '/gmail/v1/users/*/drafts', chance: 0.2 })
})
afterAll(() => harness?.end())

// In rounds, so that it is seen to move.
const [rounds, kills] = [4, 50]
const random = randomFrom(seed)
/** What was said of each mail, by its Message-ID. */
const statuses = new Map<string, string>()
/** Longer than a mail takes whose answer is lost. */
const longestMs = 2_500

async function previewed(): Promise<string> {
  const params = { to: ['ada@example.com'], subject: randomUUID(), text: 'Hi' }
  const { status, body, text } = await harness.api.call('POST', '/actions/preview', { body: { action: 'gmail.send_email', params } })
  if (status !== 200) throw new Error(`no preview: ${status} ${text}`)
  return body.preview_id as string
}

const promise = `${kills} kills of actions at any point of a mail, half the answers lost: sent at most once, and what is said is true`
test.each(Array.from({ length: rounds }, (_, round) => round + 1))(
  `${promise} (%i of ${rounds})`,
  async () => {
    const starting = new Map<string, Promise<void>>()
    const callers = new Callers(harness.api, previewed)
    for (let kill = 0; kill < kills; kill += 1) {
      await callers.another()
      // Most of a mail's steps are in its first moments, so most kills are.
      await pause(random() ** 3 * longestMs)
      const victim = ['actions', 'actions-2'][Math.floor(random() * 2)]!
      // The other one may be starting still.
      await starting.get(victim)
      await harness.mesh.process(victim).kill('SIGKILL')
      starting.set(victim, harness.mesh.process(victim).restart())
    }
    await Promise.all(starting.values())
    await callers.stop()

    for await (const { body } of callers.ends()) {
      const id = `<${body.run_id}@example.com>`
      expect(statuses.has(id), 'two keys have one run').toBe(false)
      statuses.set(id, body.status as string)
    }
    expect(['success', 'failed', 'unknown']).toEqual(expect.arrayContaining([...new Set(statuses.values())]))
    expect([...statuses.values()]).toContain('success')

    const delivered = (await sandbox.inbox()).mails.map((mail) => mail.message_id)
    const once = new Set(delivered)
    expect(once.size).toBe(delivered.length)
    for (const id of once) expect(statuses.get(id), id).toMatch(/^(success|unknown)$/)
    for (const [id, status] of statuses) if (status === 'success') expect(once, id).toContain(id)
  },
  800_000,
)
