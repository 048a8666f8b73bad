import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type GraphMailOptions, graphMailAdapter, graphMailReasons } from '../../../providers/microsoft/outlook-send-email.ts'
import { LeaseLostError } from '../../../services/actions/runs/lease.ts'
import { type Graph, recipientsOf, startGraph } from '../../fakes/graph.ts'
import type { Fault } from '../../fakes/provider-api.ts'
import { closing, expectError } from '../../services/actions/adapter-harness.ts'
import { type CrashPoint, Life, account, asking, connected, driven, stored } from '../../services/actions/provider-harness.ts'

const scopes = ['Mail.Send', 'Mail.ReadWrite']
const letter = {
  to: ['bob@example.com', { address: 'eve@example.net', name: 'Eve' }],
  cc: ['cc@example.com'],
  bcc: ['bcc@example.com'],
  reply_to: 'answers@example.com',
  subject: 'Numbers',
  text: 'Here they are:\n<b>1</b> & 2',
  attachments: [{ filename: 'numbers.csv', content_type: 'text/csv', content: Buffer.from('1,2').toString('base64') }],
}

async function openHarness(options: Partial<GraphMailOptions> = {}) {
  const api = closing(await startGraph())
  const adapter = graphMailAdapter({
    connections: account(scopes),
    baseUrl: new URL(api.url),
    retryMs: 1,
    timeoutMs: 2_000,
    pollIntervalMs: [0, 1, 2],
    ...options,
  })
  return {
    api,
    adapter,
    mail: await stored(adapter, letter),
    calls: (route: string) => api.calls.filter((call) => call.route === route).length,
  }
}

const expectEnded = (outcome: Parameters<typeof expectError>[0], status: 'failed' | 'unknown', reason: string) =>
  expectError(outcome, status, reason, graphMailReasons)

/** What its owner might still send by hand, or a request that is under way. */
const armed = ({ messages }: Graph) => [...messages.values()].filter((message) => message.isDraft && recipientsOf(message).length > 0)

describe('a mail', () => {
  test('goes out once, as it was shown', async () => {
    const { api, adapter, mail } = await openHarness()
    expect(await driven(adapter, mail, new Life())).toEqual({ status: 'success', result: { message_id: [...api.messages.keys()][0] } })
    expect(api.sent).toEqual(['Numbers'])
    expect([...api.messages.values()][0]).toMatchObject({
      isDraft: false,
      subject: 'Numbers',
      body: { contentType: 'text', content: 'Here they are:\n<b>1</b> & 2' },
      toRecipients: [{ emailAddress: { address: 'bob@example.com' } }, { emailAddress: { address: 'eve@example.net', name: 'Eve' } }],
      ccRecipients: [{ emailAddress: { address: 'cc@example.com' } }],
      bccRecipients: [{ emailAddress: { address: 'bcc@example.com' } }],
      replyTo: [{ emailAddress: { address: 'answers@example.com' } }],
      attachments: [
        {
          '@odata.type': '#microsoft.graph.fileAttachment',
          name: 'numbers.csv',
          contentType: 'text/csv; charset=utf-8',
          contentBytes: 'MSwy',
        },
      ],
    })
  })

  test('is a draft whose id stays and is kept, before it is sent', async () => {
    const { api, adapter, mail, calls } = await openHarness()
    const life = new Life()
    await expect(adapter.execute(mail, life.attempt('after the point'))).rejects.toThrow('after the point')
    expect(life.recovery).toEqual({ message_id: expect.stringMatching(/^immutable-/) })
    expect([calls('create'), calls('send'), api.sent.length]).toEqual([1, 0, 0])
  })

  test.each(['create', 'send'])('goes out once also where a token ceases to be good at %s', async (route) => {
    const { api, adapter, mail } = await openHarness()
    api.tokens.add('token-2')
    api.inject(route, { status: 401 })
    expect(await driven(adapter, mail, new Life())).toMatchObject({ status: 'success' })
    expect(api.sent).toHaveLength(1)
  })

  test.each<[string, Fault]>([
    ['is lost', 'answer lost'],
    ['is an error all the same', { instead: { status: 503 } }],
  ])('that went out is known to have, where the answer %s', async (_, fault) => {
    const { api, adapter, mail, calls } = await openHarness()
    api.inject('send', fault)
    expect(await driven(adapter, mail, new Life())).toMatchObject({ status: 'success' })
    expect([api.sent.length, calls('send')]).toEqual([1, 1])
  })

  test('that goes out only after the answer was given up is known to have gone out', async () => {
    const { api, adapter, mail } = await openHarness({ timeoutMs: 600, pollIntervalMs: [0, 1, 500] })
    api.inject('send', { held: api.called('get', 2) })
    expect(await driven(adapter, mail, new Life())).toMatchObject({ status: 'success' })
    expect(api.sent).toHaveLength(1)
  })

  test.each<[string, string, Fault, string]>([
    ['too many requests', 'create', { status: 429 }, 'PROVIDER_RATE_LIMITED'],
    ['a draft that cannot be made', 'create', { status: 500 }, 'PROVIDER_ERROR'],
    ['a draft whose id is lost', 'create', 'answer lost', 'PROVIDER_CONNECTION_LOST'],
    ['a refusal', 'send', { status: 403 }, 'PROVIDER_FORBIDDEN'],
    ['too many sendings', 'send', { status: 429 }, 'PROVIDER_RATE_LIMITED'],
    ['an error at the sending', 'send', { status: 500 }, 'PROVIDER_ERROR'],
    ['a sending that never arrived', 'send', 'cut', 'PROVIDER_CONNECTION_LOST'],
  ])('is known not to go out after %s', async (what, route, fault, reason) => {
    const { api, adapter, mail, calls } = await openHarness()
    api.inject(route, fault)
    expectEnded(await driven(adapter, mail, new Life()), 'failed', reason)
    expect([api.sent.length, calls('send')]).toEqual([0, route === 'send' ? 1 : 0])
    if (what !== 'a draft whose id is lost') expect([...api.messages.values()]).toEqual([])
  })

  test('that failed cannot go out any more, by a sending that was under way all the time', async () => {
    const { api, adapter, mail } = await openHarness({ timeoutMs: 600, pollIntervalMs: [0, 1] })
    const released = Promise.withResolvers<void>()
    api.inject('send', { held: released.promise })
    api.inject('delete', { status: 500 })
    expectEnded(await driven(adapter, mail, new Life()), 'failed', 'PROVIDER_TIMEOUT')
    const answered = api.answered('send')
    released.resolve()
    await answered
    expect(api.sent).toEqual([])
  })

  test('that went out while its draft was about to be disarmed is known to have gone out', async () => {
    const { api, adapter, mail } = await openHarness({ timeoutMs: 600, pollIntervalMs: [0, 1] })
    const sent = Promise.withResolvers<void>()
    api.inject('send', { held: sent.promise })
    const answered = api.answered('send')
    api.inject('patch', { held: answered })
    void api.called('patch').then(() => sent.resolve())
    expect(await driven(adapter, mail, new Life())).toMatchObject({ status: 'success' })
    expect(api.sent).toHaveLength(1)
  })

  test('is in doubt where its draft cannot be disarmed', async () => {
    const { api, adapter, mail } = await openHarness()
    api.inject('send', { status: 500 })
    api.inject('patch', { status: 500 })
    expectEnded(await driven(adapter, mail, new Life()), 'unknown', 'PROVIDER_ERROR')
    expect(api.sent).toEqual([])
  })

  test('is in doubt where Graph took it and leaves it a draft', async () => {
    const { api, adapter, mail } = await openHarness()
    api.inject('send', { status: 202 })
    expectEnded(await driven(adapter, mail, new Life()), 'unknown', 'MAIL_STILL_DRAFT')
    expect(armed(api)).toHaveLength(1)
  })

  test('is not sent by a holder that has lost the run', async () => {
    const { api, adapter, mail, calls } = await openHarness()
    const life = new Life()
    const first = life.attempt()
    const asked = Promise.withResolvers<void>()
    api.inject('create', { held: asked.promise })
    const lost = adapter.execute(mail, first)
    await api.called('create')
    life.attempt()
    asked.resolve()
    await expect(lost).rejects.toThrow(LeaseLostError)
    expect(calls('send')).toBe(0)
  })
})

describe('the next holder', () => {
  test('takes up the draft that the one before could not record', async () => {
    const { api, adapter, mail, calls } = await openHarness()
    expect(await driven(adapter, mail, new Life(), ['before the point'])).toMatchObject({ status: 'success' })
    expect([calls('create'), api.sent.length, armed(api).length]).toEqual([1, 1, 0])
  })

  test.each<CrashPoint>(['after the point', 'before the effect'])('sends the draft of one that was lost %s', async (crash) => {
    const { api, adapter, mail, calls } = await openHarness()
    expect(await driven(adapter, mail, new Life(), [crash])).toMatchObject({ status: 'success' })
    expect([calls('create'), calls('send'), api.sent.length]).toEqual([1, 1, 1])
  })

  test('of several that were lost one after another sends it once', async () => {
    const { api, adapter, mail } = await openHarness()
    expect(
      await driven(adapter, mail, new Life(), ['before the point', 'after the point', 'before the effect', 'before the effect']),
    ).toMatchObject({ status: 'success' })
    expect(api.sent).toHaveLength(1)
  })

  test('finds that it went out, where the one before was lost while it was sent', async () => {
    const { api, adapter, mail, calls } = await openHarness()
    const [life, sent, lost] = [new Life(), Promise.withResolvers<void>(), new AbortController()]
    api.inject('send', { held: sent.promise })
    const first = adapter.execute(mail, life.attempt(undefined, { signal: lost.signal }))
    await api.called('send')
    lost.abort()
    const answered = api.answered('send')
    sent.resolve()
    await Promise.all([first, answered])
    expect(await adapter.reconcile(mail, life.attempt())).toMatchObject({ status: 'success' })
    expect([api.sent.length, calls('send')]).toEqual([1, 1])
  })

  test('is in doubt where neither the draft nor the mail is there', async () => {
    const { api, adapter, mail } = await openHarness()
    const life = new Life()
    await expect(adapter.execute(mail, life.attempt('before the effect'))).rejects.toThrow('before the effect')
    api.messages.clear()
    expectEnded(await adapter.reconcile(mail, life.attempt()), 'unknown', 'MAIL_GONE')
  })

  test('is in doubt where nobody can look', async () => {
    const { api, adapter, mail } = await openHarness()
    const life = new Life()
    await expect(adapter.execute(mail, life.attempt('before the effect'))).rejects.toThrow('before the effect')
    api.inject('get', ...Array.from({ length: 9 }, () => ({ status: 500 })))
    expectEnded(await adapter.reconcile(mail, life.attempt()), 'unknown', 'MAIL_OUTCOME_LOST')
    expect(api.sent).toEqual([])
  })

  test('does not call a mail failed for a refusal that a sending before it explains', async () => {
    const { api, adapter, mail } = await openHarness()
    const life = new Life()
    await expect(adapter.execute(mail, life.attempt('before the effect'))).rejects.toThrow('before the effect')
    // The mail goes out between the look and the sending.
    api.inject('send', { instead: { status: 400 } })
    expect(await adapter.reconcile(mail, life.attempt())).toMatchObject({ status: 'success' })
    expect(api.sent).toHaveLength(1)
  })

  test('leaves it in doubt where its own sending was refused, and nobody can see what came of the one before', async () => {
    const { api, adapter, mail } = await openHarness()
    const life = new Life()
    await expect(adapter.execute(mail, life.attempt('before the effect'))).rejects.toThrow('before the effect')
    api.inject('send', { instead: { status: 400 } })
    api.inject('get', undefined, ...Array.from({ length: 9 }, () => ({ status: 500 })))
    expectEnded(await adapter.reconcile(mail, life.attempt()), 'unknown', 'PROVIDER_REFUSED')
    expect(api.sent).toHaveLength(1)
  })
})

describe('with the scope to send alone', () => {
  const connections = account(['Mail.Send'])

  test('a mail goes out in one step', async () => {
    const { api, adapter, mail, calls } = await openHarness({ connections })
    expect(await driven(adapter, mail, new Life())).toEqual({ status: 'success', result: {} })
    expect([api.sent.length, calls('create')]).toEqual([1, 0])
  })

  test.each<[Fault, 'failed' | 'unknown', string, number]>([
    [{ status: 429 }, 'failed', 'PROVIDER_RATE_LIMITED', 0],
    [{ status: 500 }, 'unknown', 'PROVIDER_ERROR', 0],
    ['answer lost', 'unknown', 'PROVIDER_CONNECTION_LOST', 1],
  ])('%j leaves it %s', async (fault, status, reason, sent) => {
    const { api, adapter, mail, calls } = await openHarness({ connections })
    api.inject('sendMail', fault)
    expectEnded(await driven(adapter, mail, new Life()), status, reason)
    expect([api.sent.length, calls('sendMail')]).toEqual([sent, 1])
  })

  test('a crash leaves it in doubt, and sends nothing again', async () => {
    const { adapter, mail, calls } = await openHarness({ connections })
    expectEnded(await driven(adapter, mail, new Life(), ['after the point']), 'unknown', 'MAIL_OUTCOME_LOST')
    expect(calls('sendMail')).toBe(0)
  })

  test('the preview says so', () => {
    const { requires } = graphMailAdapter({ connections, baseUrl: new URL('http://127.0.0.1:9') })
    expect(requires?.warn?.(['Mail.Send'])).toEqual([expect.stringContaining('has not granted Mail.ReadWrite')])
    expect(requires?.warn?.([])).toEqual([expect.stringContaining('cannot be sent')])
    expect(requires?.warn?.(scopes)).toEqual([])
  })
})

test('without the scope to send nothing is sent', async () => {
  const { api, adapter, mail } = await openHarness({ connections: account(['Mail.ReadWrite']) })
  expectEnded(await driven(adapter, mail, new Life()), 'failed', 'SCOPE_MISSING')
  expect(api.calls).toEqual([])
})

test('a mail is from the connected account, and from nobody else', async () => {
  const { adapter, api } = await openHarness()
  const preview = (json: object) =>
    adapter.preview(adapter.params.parse({ ...letter, ...json }), asking(connected({ account: 'ada@example.com' })))
  expect((await preview({})).params).toMatchObject({ from: { address: 'ada@example.com' } })
  await expect(preview({ from: 'boss@example.com' })).rejects.toMatchObject({
    reason: 'INVALID_PARAMS',
    violations: [{ field: 'params.from' }],
  })
  expect(api.calls).toEqual([])
})

test('whatever goes wrong, a mail goes out at most once: it did after a success, and never will after a failure', async () => {
  const fault = fc.constantFrom<Fault | undefined>(
    undefined,
    { status: 401 },
    { status: 429 },
    { status: 404 },
    { status: 500 },
    'cut',
    'answer lost',
    { instead: { status: 502 } },
  )
  const faults = fc.array(fault, { maxLength: 3 })
  const crash = fc.constantFrom<CrashPoint | undefined>(undefined, 'before the point', 'after the point', 'before the effect')
  const { api, adapter, mail } = await openHarness({ pollIntervalMs: [0, 1] })
  api.tokens.add('token-2')
  await fc.assert(
    fc.asyncProperty(
      fc.record({ create: faults, find: faults, get: faults, send: faults, patch: faults, delete: faults }),
      fc.array(crash, { maxLength: 4 }),
      async (each, crashes) => {
        api.reset()
        api.messages.clear()
        api.sent.length = 0
        for (const [route, some] of Object.entries(each)) api.inject(route, ...some)
        const outcome = await driven(adapter, mail, new Life(), crashes)
        expect(api.sent.length).toBeLessThanOrEqual(1)
        if (outcome.status === 'success') expect(api.sent).toHaveLength(1)
        else expect(graphMailReasons).toContain(outcome.error.reason)
        if (outcome.status === 'failed') expect(api.sent).toEqual([])
      },
    ),
    { numRuns: 200 },
  )
})
