/** Both replicas of each service are replaced one right after the other, as a deploy does, while people are at work. */
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Receiver, startReceiver } from '../fakes/receiver.ts'
import { full } from '../setup/seed.ts'
import { type Api, type Journey, type Reply, api, journey, until } from './journey.ts'
import { sandboxOf } from './sandbox.ts'

const rounds = full ? 5 : 1

let harness: Journey
let receiver: Receiver
/** Connects accounts of its own: those that mails are sent from stay as they are. */
let connecting: Api
const wrong: string[] = []
/** How often each thing was done. */
const done = new Map<string, number>()
let over = false
let workers: Promise<void>[] = []

/** Each of these needs several services, and all of them together every service. */
const work: Record<string, () => Promise<Reply[]>> = {
  'the actions are listed': async () => [await harness.api.list()],
  'the connections are listed': async () => [await harness.api.call('GET', '/oauth/connections')],
  'the runs are listed': async () => [await harness.api.call('GET', '/actions/runs?page_size=5')],
  'a new key is used': async () => {
    const created = await harness.api.call('POST', '/access/keys', { body: { name: 'one of many', role: 'viewer' } })
    const headers = { authorization: `Bearer ${created.body.api_key}` }
    const used = await harness.api.call('GET', '/actions', { headers })
    const { key_id } = created.body.key as { key_id: string }
    // A workspace has at most 1000 active keys, which a long run would reach.
    return [created, used, await harness.api.call('DELETE', `/access/keys/${key_id}`)]
  },
  'an account is connected': async () => {
    await sandboxOf({ ...harness, api: connecting }).connect('google')
    return []
  },
  'a webhook is sent': () => previewAndExecute('webhook.save', { url: receiver.url, body: { nonce: randomUUID() } }),
  'a mail is sent': () => previewAndExecute('gmail.send_email', { to: ['ada@example.com'], subject: randomUUID(), text: 'Hi' }),
}

async function previewAndExecute(action: string, params: object): Promise<Reply[]> {
  const preview = await harness.api.call('POST', '/actions/preview', { body: { action, params } })
  return preview.status === 200 ? [preview, await harness.api.execute(preview.body.preview_id as string)] : [preview]
}

const isWrong = ({ status, body }: Reply): boolean => status >= 300 || (body.run_id !== undefined && body.status !== 'success')

async function repeat(what: string): Promise<void> {
  while (!over) {
    const replies = await work[what]!().catch((error: unknown) => void wrong.push(`${what}: ${String(error)}`))
    for (const { status, text } of replies?.filter(isWrong) ?? []) wrong.push(`${what}: ${status} ${text.slice(0, 300)}`)
    done.set(what, (done.get(what) ?? 0) + 1)
    // Work as people do it: without a pause, the work alone would take all of the machine.
    await pause(50)
  }
}

/** Until everything has been done so often again. */
async function workGoesOn(wanted: number): Promise<void> {
  const before = new Map(done)
  const times = () => Object.keys(work).map((what) => (done.get(what) ?? 0) - (before.get(what) ?? 0))
  await until(
    async () => Math.min(...times()),
    (fewest) => fewest >= wanted,
    60_000,
  )
}

beforeAll(async () => {
  receiver = await startReceiver()
  const replicas = { access: 2, idempotency: 2, ratelimit: 2, oauth: 2, actions: 2 }
  harness = await journey({ sandbox: true, replicas, env: { LOG_LEVEL: 'warn', RUN_LEASE: '15s' } })
  await sandboxOf(harness).connect('google')
  const { body } = await harness.api.call('POST', '/access/keys', { body: { name: 'connects', role: 'developer', actor: 'zoe' } })
  connecting = api({ gateways: harness.mesh.gateways, apiKey: body.api_key as string })
  workers = Object.keys(work).map(repeat)
  await workGoesOn(2)
}, 180_000)
afterAll(async () => {
  over = true
  await Promise.all(workers)
  await harness?.end()
  await receiver?.close()
})

test.each(['oauth', 'actions', 'access', 'idempotency', 'ratelimit'])(
  'replacing both replicas of %s, one after the other, loses no call and fails no run',
  async (service) => {
    for (let round = 0; round < rounds; round += 1) {
      for (const name of [service, `${service}-2`]) {
        await harness.mesh.process(name).stop()
        await harness.mesh.process(name).restart()
      }
    }
    await workGoesOn(2)
    expect(wrong.splice(0)).toEqual([])
  },
  60_000 * rounds,
)
