/** What waits for its turn has not left: it is never called unclear, leaves no trace of having been sent, and waits behind its own workspace. */
import { expect, test } from 'vitest'
import type { Adapter, Outcome } from '../../../services/actions/adapter.ts'
import { googleCalendarAdapter } from '../../../providers/google/calendar-create-event.ts'
import { googleMailAdapter } from '../../../providers/google/gmail-send-email.ts'
import { graphCalendarAdapter } from '../../../providers/microsoft/outlook-create-event.ts'
import { graphMailAdapter } from '../../../providers/microsoft/outlook-send-email.ts'
import type { ApiParts } from '../../../services/actions/adapters/provider-http.ts'
import { deliverySlots, providerSlots } from '../../../services/actions/adapters/slots.ts'
import { type Receiver, type ReceiverOptions, startReceiver } from '../../fakes/receiver.ts'
import { closing, run, stored } from './adapter-harness.ts'
import { Life, account, asking } from './provider-harness.ts'
import { adapter as webhook, receive } from './webhook-harness.ts'

const mail = { to: ['bob@example.com'], subject: 'Numbers', text: 'Here they are.' }
const event = {
  title: 'Plan',
  start: { date_time: '2030-01-31T09:30', time_zone: 'Europe/Berlin' },
  end: { date_time: '2030-01-31T10:30', time_zone: 'Europe/Berlin' },
}

interface Action {
  name: string
  json: object
  /** Those that act in one step: a recovery point of theirs says that the step may have been taken. */
  // oxlint-disable-next-line typescript/no-explicit-any -- adapters of whatever parameters
  make(parts: ApiParts): Adapter<any>
}
const sending = account(['https://www.googleapis.com/auth/gmail.send', 'Mail.Send'])
const atProviders: Action[] = [
  { name: 'gmail.send_email', json: mail, make: (parts) => googleMailAdapter(parts) },
  { name: 'outlook.send_email', json: mail, make: (parts) => graphMailAdapter({ ...parts, pollIntervalMs: [0] }) },
  { name: 'google_calendar.create_event', json: event, make: (parts) => googleCalendarAdapter({ ...parts, pollIntervalMs: [0] }) },
  { name: 'outlook_calendar.create_event', json: event, make: (parts) => graphCalendarAdapter({ ...parts, pollIntervalMs: [0] }) },
]

const start = async (options: ReceiverOptions): Promise<Receiver> => closing(await startReceiver(options))
const reasonOf = (outcome: Outcome) => (outcome.status === 'success' ? 'success' : `${outcome.status} ${outcome.error.reason}`)

test.each(atProviders)(
  '$name: of many that meet a silent provider, those that never left are failed, and none of them has a recovery point',
  async ({ json, make }) => {
    const provider = await start({ respond: () => new Promise(() => undefined) })
    const slots = providerSlots({ max: 4, timeoutMs: 100 })
    const action = make({ connections: sending, baseUrl: new URL(provider.url), retryMs: 1, timeoutMs: 700, slots })
    const params = await action.preview(action.params.parse(json), asking()).then((shown) => action.params.parse(shown.params))
    const lives = Array.from({ length: 12 }, (_, index) => new Life(`3a033cc1-0000-4000-8000-0000000001${10 + index}`))
    // Half of the slots are one workspace's: two leave of each, and four of each wait.
    const outcomes = await Promise.all(
      lives.map((life, index) => action.execute(params, life.attempt(undefined, { workspace: index % 2 === 0 ? 'a' : 'b' }))),
    )
    const waited = outcomes.filter((outcome) => reasonOf(outcome) === 'failed OUTGOING_BUSY')
    expect(waited).toHaveLength(8)
    expect(outcomes.filter(({ status }) => status === 'unknown')).toHaveLength(4)
    expect(provider.deliveries.filter(({ method }) => method === 'POST')).toHaveLength(4)
    for (const [index, outcome] of outcomes.entries())
      expect(lives[index]!.recovery === undefined, reasonOf(outcome)).toBe(outcome.status === 'failed')
  },
)

test('webhook.save: of many that meet a silent receiver, those that never left are failed', async () => {
  const receiver = await receive({ respond: () => new Promise(() => undefined) })
  const adapter = webhook({ slots: deliverySlots({ max: 4, timeoutMs: 100 }), timeoutMs: 700 })
  const params = await stored(adapter, { url: receiver.url })
  const outcomes = await Promise.all(
    Array.from({ length: 12 }, (_, index) => adapter.execute(params, run({ workspace: index % 2 === 0 ? 'a' : 'b' }))),
  )
  expect(outcomes.map(reasonOf).toSorted()).toEqual([
    ...Array<string>(8).fill('failed OUTGOING_BUSY'),
    ...Array<string>(4).fill('unknown WEBHOOK_TIMEOUT'),
  ])
  expect(receiver.connections).toBe(4)
  expect(outcomes.find(({ status }) => status === 'failed')).toMatchObject({
    error: { message: expect.stringMatching(/^Nothing was sent: too many/) },
  })
})

test('a workspace whose requests all hang keeps no other from sending, to a receiver or to a provider', async () => {
  const held = Promise.withResolvers<object>()
  const hanging = await start({ respond: () => held.promise })
  const quick = await start({ respond: () => ({ body: '{"id":"made"}' }) })
  const hook = webhook({ slots: deliverySlots({ max: 4, timeoutMs: 60_000 }), timeoutMs: 60_000 })
  const slow = Array.from({ length: 20 }, async () => hook.execute(await stored(hook, { url: hanging.url }), run({ workspace: 'hostile' })))
  const sent = hook.execute(await stored(hook, { url: quick.url }), run({ workspace: 'other' }))
  expect(reasonOf(await sent)).toBe('success')

  const slots = providerSlots({ max: 4, timeoutMs: 60_000 })
  const calendar = (receiver: Receiver) =>
    googleCalendarAdapter({ connections: account(), baseUrl: new URL(receiver.url), slots, timeoutMs: 60_000, pollIntervalMs: [0] })
  const [bad, good] = [calendar(hanging), calendar(quick)]
  const params = await stored(good, event)
  const more = Array.from({ length: 20 }, () => bad.execute(params, new Life().attempt(undefined, { workspace: 'hostile' })))
  expect(reasonOf(await good.execute(params, new Life().attempt(undefined, { workspace: 'other' })))).toBe('success')
  await hanging.waitForDeliveries(4)
  held.resolve({ status: 403 })
  await Promise.all([...slow, ...more])
})

test('a run that is stopped while it waits has sent nothing', async () => {
  const held = Promise.withResolvers<object>()
  const receiver = await receive({ respond: () => held.promise })
  const adapter = webhook({ slots: deliverySlots({ max: 1 }) })
  const params = await stored(adapter, { url: receiver.url })
  const first = adapter.execute(params, run())
  await receiver.waitForDeliveries(1)
  const stopping = new AbortController()
  const second = adapter.execute(params, run({ signal: stopping.signal }))
  stopping.abort()
  expect(await second).toEqual({
    status: 'failed',
    error: { reason: 'WEBHOOK_TIMEOUT', message: 'The run was stopped before the request was sent.' },
  })
  held.resolve({})
  expect(reasonOf(await first)).toBe('success')
  expect(receiver.deliveries).toHaveLength(1)
})
