import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { CalendarOptions } from '../../../../services/actions/adapters/calendar.ts'
import { apiReasons } from '../../../../services/actions/adapters/provider-http.ts'
import { eventIdOf, googleCalendarAdapter } from '../../../../providers/google/calendar-create-event.ts'
import { graphCalendarAdapter } from '../../../../providers/microsoft/outlook-create-event.ts'
import { Catalog } from '../../../../services/actions/catalog.ts'
import { LeaseLostError } from '../../../../services/actions/runs/lease.ts'
import { startGoogleCalendar } from '../../../fakes/google-calendar.ts'
import { startGraph } from '../../../fakes/graph.ts'
import type { Fault } from '../../../fakes/provider-api.ts'
import { closing, expectError, runId } from '../adapter-harness.ts'
import { type CrashPoint, Life, account, asking, connected, driven, stored } from '../provider-harness.ts'

const calendarReasons: readonly string[] = [...apiReasons, 'EVENT_NOT_MADE', 'EVENT_OUTCOME_LOST']

const meeting = {
  title: 'Plan',
  description: 'Bring\nnumbers.',
  location: 'Room 1',
  start: { date_time: '2030-01-31T09:30', time_zone: 'Europe/Berlin' },
  end: { date_time: '2030-01-31T10:30', time_zone: 'Europe/Berlin' },
  attendees: ['bob@example.com', { address: 'eve@example.net', name: 'Eve' }],
}

const providers = [
  { name: 'google', make: googleCalendarAdapter, start: startGoogleCalendar, insert: 'insert', find: 'get' },
  { name: 'outlook', make: graphCalendarAdapter, start: startGraph, insert: 'addEvent', find: 'findEvent' },
]

async function openHarness({ start, make, insert, find }: (typeof providers)[number], options: Partial<CalendarOptions> = {}) {
  const api = closing(await start())
  const adapter = make({
    connections: account(),
    baseUrl: new URL(api.url),
    retryMs: 1,
    timeoutMs: 2_000,
    pollIntervalMs: [0, 1, 2],
    ...options,
  })
  return {
    api,
    adapter,
    event: await stored(adapter, meeting),
    asked: () => api.calls.filter(({ route }) => route === insert).length,
    insert,
    find,
  }
}

describe.each(providers)('an event in the calendar of $name', (provider) => {
  const expectEnded = (outcome: Parameters<typeof expectError>[0], status: 'failed' | 'unknown', reason: string) =>
    expectError(outcome, status, reason, calendarReasons)

  test('is created once, and its attendees are invited once', async () => {
    const { api, adapter, event, asked } = await openHarness(provider)
    expect(await driven(adapter, event, new Life())).toMatchObject({
      status: 'success',
      result: { link: expect.stringContaining('https://') },
    })
    expect([api.events.size, asked()]).toEqual([1, 1])
    expect(api.invitations).toEqual(['bob@example.com', 'eve@example.net'])
  })

  test('of the year 50 is created in the year 50, at the local time of that year', async () => {
    const { api, adapter } = await openHarness(provider)
    const at = (hour: string) => ({ date_time: `0050-06-01T${hour}:00`, time_zone: 'America/New_York' })
    const event = await stored(adapter, { ...meeting, start: at('10'), end: at('11') })
    expect(await driven(adapter, event, new Life())).toMatchObject({ status: 'success' })
    // Its offset has seconds, which RFC 3339 cannot write: the zone alone says it.
    expect([...api.events.values()]).toMatchObject([{ start: { dateTime: '0050-06-01T10:00:00', timeZone: 'America/New_York' } }])
  })

  test('that starts within an hour that the clocks skip is rejected with the name of the change, if its end does not fit', async () => {
    const { adapter } = await openHarness(provider)
    const at = (time: string) => ({ date_time: `2030-03-10T${time}`, time_zone: 'America/New_York' })
    const parsed = adapter.params.safeParse({ ...meeting, start: at('02:30'), end: at('03:15') })
    expect(parsed.error?.issues.map(({ message }) => message)).toEqual([expect.stringContaining('the clocks go forward over it')])
    const shown = await stored(adapter, { ...meeting, start: at('02:30'), end: at('04:00') })
    expect(shown.start).toEqual(at('03:30:00'))
  })

  test('is created even if the token has just expired', async () => {
    const { api, adapter, event } = await openHarness(provider)
    api.tokens.delete('token-1')
    api.tokens.add('token-2')
    expect(await driven(adapter, event, new Life())).toMatchObject({ status: 'success' })
    expect(api.events.size).toBe(1)
  })

  test.each<[string, Fault[], string]>([
    ['too many requests', [{ status: 429 }], 'PROVIDER_RATE_LIMITED'],
    ['a refusal', [{ status: 403 }], 'PROVIDER_FORBIDDEN'],
    ['a request that is not understood', [{ status: 400 }], 'PROVIDER_REFUSED'],
    ['two refused tokens', [{ status: 401 }, { status: 401 }], 'PROVIDER_UNAUTHORIZED'],
  ])('is known not to be made after %s', async (_, faults, reason) => {
    const { api, adapter, event, insert, asked } = await openHarness(provider)
    api.tokens.add('token-2')
    api.inject(insert, ...faults)
    expect(expectEnded(await driven(adapter, event, new Life()), 'failed', reason)).toContain('No event was made')
    expect([api.events.size, asked()]).toEqual([0, faults.length])
  })

  test('is certainly not created if no connection is possible', async () => {
    const { api, adapter, event } = await openHarness(provider)
    await api.close()
    expect(expectEnded(await driven(adapter, event, new Life()), 'failed', 'PROVIDER_UNREACHABLE')).toContain('No event was made')
  })

  test.each<[string, Fault]>([
    ['the answer is lost', 'answer lost'],
    ['an error is answered all the same', { instead: { status: 503 } }],
    ['nonsense is answered', { instead: { status: 200, body: { hello: 1 } } }],
  ])('is found where it was made and %s', async (_, fault) => {
    const { api, adapter, event, insert, asked } = await openHarness(provider)
    api.inject(insert, fault)
    expect(await driven(adapter, event, new Life())).toMatchObject({ status: 'success' })
    expect([api.events.size, asked()]).toEqual([1, 1])
  })

  test('is found if it appears only after the response was given up', async () => {
    const { api, adapter, event, insert, find } = await openHarness(provider, { timeoutMs: 600, pollIntervalMs: [0, 1, 500] })
    api.inject(insert, { held: api.called(find, 2) })
    expect(await driven(adapter, event, new Life())).toMatchObject({ status: 'success' })
    expect(api.invitations).toHaveLength(2)
  })

  test.each<[string, Fault, string]>([
    ['the connection is cut', 'cut', 'PROVIDER_CONNECTION_LOST'],
    ['the provider has an error', { status: 503 }, 'PROVIDER_ERROR'],
  ])('is in doubt where %s and it does not appear', async (_, fault, reason) => {
    const { api, adapter, event, insert, asked } = await openHarness(provider)
    api.inject(insert, fault)
    expect(expectEnded(await driven(adapter, event, new Life()), 'unknown', reason)).toContain('look for "Plan"')
    expect(asked()).toBe(1)
  })

  test('is created by the next owner if the first was lost before any request', async () => {
    const { api, adapter, event, asked } = await openHarness(provider)
    expect(await driven(adapter, event, new Life(), ['before the point'])).toMatchObject({ status: 'success' })
    expect([api.events.size, asked()]).toEqual([1, 1])
  })

  test.each<CrashPoint>(['after the point', 'before the effect'])(
    'is not asked for again by the next holder where the first was lost %s',
    async (crash) => {
      const { api, adapter, event, asked } = await openHarness(provider)
      expectEnded(await driven(adapter, event, new Life(), [crash]), 'unknown', 'EVENT_OUTCOME_LOST')
      expect([api.events.size, asked()]).toEqual([0, 0])
    },
  )

  test('is certainly not created if it does not exist long after a crash', async () => {
    const { adapter, event } = await openHarness(provider)
    const life = new Life()
    await expect(adapter.execute(event, life.attempt('before the effect'))).rejects.toThrow('before the effect')
    expectEnded(await adapter.reconcile(event, life.attempt(undefined, { recordedAgoMs: 11 * 60_000 })), 'failed', 'EVENT_NOT_MADE')
  })

  test('is not reported as missing because the clocks of two replicas differ: the store’s clock decides how long ago it was requested', async () => {
    let time = Date.parse('2029-01-01T00:00:00Z')
    const { adapter, event } = await openHarness(provider, { now: () => time })
    const life = new Life()
    await expect(adapter.execute(event, life.attempt('before the effect'))).rejects.toThrow('before the effect')
    time += 24 * 60 * 60_000
    expectEnded(await adapter.reconcile(event, life.attempt(undefined, { recordedAgoMs: 1_000 })), 'unknown', 'EVENT_OUTCOME_LOST')
    // Runs that older code recorded.
    expectEnded(await adapter.reconcile(event, life.attempt()), 'unknown', 'EVENT_OUTCOME_LOST')
  })

  test('is found by the next owner if the first was lost during its creation', async () => {
    const { api, adapter, event, insert, asked } = await openHarness(provider)
    const [life, made] = [new Life(), Promise.withResolvers<void>()]
    api.inject(insert, { held: made.promise })
    const lost = new AbortController()
    const first = adapter.execute(event, life.attempt(undefined, { signal: lost.signal }))
    await api.called(insert)
    lost.abort()
    made.resolve()
    await first
    expect(await adapter.reconcile(event, life.attempt())).toMatchObject({ status: 'success' })
    expect([api.events.size, asked(), api.invitations.length]).toEqual([1, 1, 2])
  })

  test('is not requested by an owner that has lost the run', async () => {
    const { adapter, event, asked } = await openHarness(provider)
    const life = new Life()
    const first = life.attempt()
    life.attempt()
    await expect(adapter.execute(event, first)).rejects.toThrow(LeaseLostError)
    expect(asked()).toBe(0)
  })

  test('stays in doubt if it cannot be looked up', async () => {
    const { api, adapter, event, find } = await openHarness(provider)
    const life = new Life()
    await expect(adapter.execute(event, life.attempt('before the effect'))).rejects.toThrow('before the effect')
    api.inject(find, ...Array.from({ length: 9 }, () => ({ status: 500 })))
    expect(expectEnded(await adapter.reconcile(event, life.attempt()), 'unknown', 'EVENT_OUTCOME_LOST')).toContain(
      'could not be looked for',
    )
  })

  test('has a true outcome, whatever goes wrong: never created twice, present after a success, absent after a failure', async () => {
    const fault = fc.constantFrom<Fault | undefined>(undefined, { status: 401 }, { status: 429 }, { status: 500 }, 'cut', 'answer lost', {
      instead: { status: 502 },
    })
    const crash = fc.constantFrom<CrashPoint | undefined>(undefined, 'before the point', 'after the point', 'before the effect')
    const { api, adapter, event, insert, find, asked } = await openHarness(provider, { pollIntervalMs: [0, 1] })
    api.tokens.add('token-2')
    await fc.assert(
      fc.asyncProperty(
        fc.array(fault, { maxLength: 2 }),
        fc.array(fault, { maxLength: 3 }),
        fc.array(crash, { maxLength: 3 }),
        async (inserts, finds, crashes) => {
          api.reset()
          api.events.clear()
          api.inject(insert, ...inserts)
          api.inject(find, ...finds)
          const [before, invited] = [asked(), api.invitations.length]
          const outcome = await driven(adapter, event, new Life(), crashes)
          if (outcome.status !== 'unknown') expect(api.events.size).toBe(outcome.status === 'success' ? 1 : 0)
          else expect(calendarReasons).toContain(outcome.error.reason)
          expect(api.invitations.length - invited).toBe(api.events.size * 2)
          // Twice only with a fresh token, after a 401.
          expect(asked() - before).toBeLessThanOrEqual(2)
        },
      ),
      { numRuns: 150 },
    )
  })
})

describe('the request', () => {
  test('to Google is the event under an id of ours, with its zone and its offset', async () => {
    const { api, adapter, event } = await openHarness(providers[0]!)
    await driven(adapter, event, new Life())
    const [call] = api.calls
    expect(call?.query.toString()).toBe('sendUpdates=all')
    expect(call?.body).toEqual({
      id: eventIdOf(runId),
      summary: 'Plan',
      description: 'Bring\nnumbers.',
      location: 'Room 1',
      start: { dateTime: '2030-01-31T09:30:00+01:00', timeZone: 'Europe/Berlin' },
      end: { dateTime: '2030-01-31T10:30:00+01:00', timeZone: 'Europe/Berlin' },
      attendees: [{ email: 'bob@example.com' }, { email: 'eve@example.net', displayName: 'Eve' }],
    })
    expect(eventIdOf(runId)).toMatch(/^[0-9a-v]{5,1024}$/)
  })

  test('to Graph is the event under a transaction id of ours, with an immutable id requested', async () => {
    const { api, adapter, event } = await openHarness(providers[1]!)
    await driven(adapter, event, new Life())
    const [call] = api.calls
    expect(call?.headers.prefer).toBe('IdType="ImmutableId"')
    expect(call?.body).toMatchObject({
      subject: 'Plan',
      body: { contentType: 'text', content: 'Bring\nnumbers.' },
      location: { displayName: 'Room 1' },
      start: { dateTime: '2030-01-31T09:30:00', timeZone: 'Europe/Berlin' },
      end: { dateTime: '2030-01-31T10:30:00', timeZone: 'Europe/Berlin' },
      isAllDay: false,
      attendees: [
        { type: 'required', emailAddress: { address: 'bob@example.com' } },
        { type: 'required', emailAddress: { address: 'eve@example.net', name: 'Eve' } },
      ],
      transactionId: runId,
    })
  })

  test.each(providers)('to $name has whole days as days', async (provider) => {
    const { api, adapter } = await openHarness(provider)
    const days = { title: 'Fair', start: { date: '2030-05-01' }, end: { date: '2030-05-03' } }
    expect(await driven(adapter, await stored(adapter, days), new Life())).toMatchObject({ status: 'success' })
    expect(api.calls[0]?.body).toMatchObject(
      provider.name === 'google'
        ? { start: { date: '2030-05-01' }, end: { date: '2030-05-03' } }
        : { isAllDay: true, start: { dateTime: '2030-05-01T00:00:00' }, end: { dateTime: '2030-05-03T00:00:00' } },
    )
  })

  test.each([
    ['google', { dateTime: '2026-10-25T02:30:00+02:00', timeZone: 'Europe/Berlin' }],
    ['outlook', { dateTime: '2026-10-25T00:30:00', timeZone: 'UTC' }],
  ])('to %s says which of two times is meant where the clocks go back', async (name, start) => {
    const { api, adapter } = await openHarness(providers.find((each) => each.name === name)!)
    const event = await stored(adapter, { ...meeting, start: { date_time: '2026-10-25T02:30', time_zone: 'Europe/Berlin' } })
    await driven(adapter, event, new Life())
    expect(api.calls[0]?.body).toMatchObject({ start })
  })
})

test('a preview calls no provider, and shows the event that is created', async () => {
  for (const provider of providers) {
    const { api, adapter } = await openHarness(provider)
    const { params, summary } = await adapter.preview(adapter.params.parse(meeting), asking(connected({ account: 'ada@example.com' })))
    expect(api.calls).toEqual([])
    expect(adapter.params.parse(JSON.parse(JSON.stringify(params)))).toEqual(params)
    expect(summary).toContain('Thu, 31 Jan 2030, 09:30 to 10:30 (Europe/Berlin, UTC+01:00)')
    expect(summary).toMatch(/sends each of them an invitation/)
  }
})

test('the published JSON Schema names all parameters', () => {
  const options = { connections: account(), baseUrl: new URL('http://127.0.0.1:9') }
  const [google, outlook] = new Catalog([googleCalendarAdapter(options), graphCalendarAdapter(options)]).list()
  expect(Object.keys(google?.paramsSchema['properties'] ?? {})).toEqual(['title', 'description', 'location', 'start', 'end', 'attendees'])
  expect(google?.paramsSchema).toMatchObject({ required: ['title', 'start', 'end'], additionalProperties: false })
  expect(outlook?.paramsSchema).toEqual(google?.paramsSchema)
})

test.each(providers)('an invalid link of $name is omitted, and the event exists all the same', async (provider) => {
  const { api, adapter, event, insert } = await openHarness(provider)
  const reply = { id: 'x', htmlLink: 'javascript:alert(1)', webLink: 'javascript:alert(1)' }
  api.inject(insert, { instead: { status: 200, body: reply } })
  expect(await driven(adapter, event, new Life())).toEqual({ status: 'success', result: { event_id: 'x' } })
})
