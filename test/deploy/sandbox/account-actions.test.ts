/** Calendars and Outlook mail in the sandbox: what the actions rely on at the real providers is so there, too. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Adapter } from '../../../services/actions/adapter.ts'
import { googleCalendarAdapter } from '../../../providers/google/calendar-create-event.ts'
import { graphCalendarAdapter } from '../../../providers/microsoft/outlook-create-event.ts'
import { graphMailAdapter } from '../../../providers/microsoft/outlook-send-email.ts'
import { type CrashPoint, Life, account, driven, stored } from '../../services/actions/provider-harness.ts'
import { type Provider, type Harness, scopesOf, startSandboxHarness } from '../sandbox-guard.ts'

let harness: Harness
const tokens = new Map<Provider, string>()
beforeAll(async () => {
  harness = await startSandboxHarness()
  for (const provider of ['google', 'microsoft'] as const) tokens.set(provider, (await harness.connect(provider)).access_token)
})
afterEach(() => fetch(`${harness.guard.url}/sandbox/faults`, { method: 'DELETE' }))
afterAll(() => harness?.guard.stop())

const optionsFor = (provider: Provider) => ({
  connections: account(scopesOf[provider].split(' '), [tokens.get(provider)!]),
  baseUrl: new URL(harness.guard.url),
  retryMs: 1,
  pollIntervalMs: [0, 1, 2],
})

const called = (all: Record<string, unknown>[], name: string) => all.filter((each) => Object.values(each).includes(name)).length

const run = async <P>(adapter: Adapter<P>, json: object, crashes: CrashPoint[] = []) =>
  driven(adapter, await stored(adapter, json), new Life(randomUUID()), crashes)

describe.each([
  { provider: 'google', make: googleCalendarAdapter, path: '/calendar/v3/calendars/primary/events' },
  { provider: 'microsoft', make: graphCalendarAdapter, path: '/v1.0/me/events' },
] as const)('an event at $provider', ({ provider, make, path }) => {
  const at = (hour: string) => ({ date_time: `2030-03-01T${hour}:00`, time_zone: 'Europe/Zurich' })

  test.each<[string, object | undefined, CrashPoint[]]>([
    ['when nothing goes wrong', undefined, []],
    ['when the answer is lost', { kind: 'lost' }, []],
    ['when the first holder is lost before anything', undefined, ['before the point']],
  ])('is there once %s', async (what, fault, crashes) => {
    if (fault !== undefined) await harness.order('/sandbox/faults', { path, method: 'POST', ...fault })
    const title = `${provider}: ${what}`
    expect(
      await run(make(optionsFor(provider)), { title, start: at('10'), end: at('11'), attendees: ['them@example.com'] }, crashes),
    ).toMatchObject({
      status: 'success',
    })
    expect(called((await harness.inbox()).events, title)).toBe(1)
  })

  test('is not there where the provider refused it', async () => {
    await harness.order('/sandbox/faults', { path, method: 'POST', kind: 'status', status: 429 })
    const title = `${provider}: refused`
    expect(await run(make(optionsFor(provider)), { title, start: at('10'), end: at('11') })).toMatchObject({ status: 'failed' })
    expect(called((await harness.inbox()).events, title)).toBe(0)
  })
})

describe('a mail by Outlook', () => {
  const letter = (subject: string) => ({ to: ['them@example.com'], subject, text: 'Hello' })
  const send = '/v1.0/me/messages/*/send'

  test.each<[string, object | undefined, CrashPoint[]]>([
    ['when nothing goes wrong', undefined, []],
    ['when the answer is lost', { kind: 'lost' }, []],
    ['when one holder after another is lost', undefined, ['before the point', 'after the point', 'before the effect']],
  ])('goes out once %s', async (subject, fault, crashes) => {
    if (fault !== undefined) await harness.order('/sandbox/faults', { path: send, method: 'POST', ...fault })
    expect(await run(graphMailAdapter(optionsFor('microsoft')), letter(subject), crashes)).toMatchObject({ status: 'success' })
    expect(called((await harness.inbox()).mails, subject)).toBe(1)
  })

  test('does not go out, and leaves no draft, where the sending failed', async () => {
    await harness.order('/sandbox/faults', { path: send, method: 'POST', kind: 'status', status: 503 })
    expect(await run(graphMailAdapter(optionsFor('microsoft')), letter('failed'))).toMatchObject({ status: 'failed' })
    expect(called((await harness.inbox()).mails, 'failed')).toBe(0)
    const drafts = await harness.api(tokens.get('microsoft')!, 'GET', '/v1.0/me/mailFolders/drafts/messages')
    expect(await drafts.json()).toEqual({ value: [] })
  })
})
