/** gmail.send_email: what is sent, what a preview says, and what is said of what cannot be known. */
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { meshErrors } from '#mesh/errors.ts'
import { mailParams } from '../../../services/actions/adapters/mail.ts'
import { LeaseLostError } from '../../../services/actions/runs/lease.ts'
import { type GmailMethod, gmailScopes } from '../../fakes/gmail.ts'
import { KilledError, type MailStage, type StoredRun, mail, mailStage, reasonOf } from './gmail-harness.ts'

let harness: MailStage
beforeEach(async () => {
  harness = await mailStage()
})

const execute = (run: StoredRun = harness.run()) => harness.adapter.execute(mail, run.handle())
const reconcile = (run: StoredRun) => harness.adapter.reconcile(mail, run.handle())
const grant = (...scopes: string[]) => harness.gmail.tokens.set('good-token', scopes)
const fails = (name: GmailMethod, fault: ReturnType<MailStage['gmail']['fault']>, only = Infinity) => {
  harness.gmail.fault = (asked) => (asked.name === name && asked.index < only ? fault : undefined)
}

describe('a mail', () => {
  test('goes out once, by a draft that is recorded before it is sent', async () => {
    const run = harness.run()
    const before: GmailMethod[][] = []
    run.onRecord = (when) => when === 'after' && before.push([...harness.gmail.requests])
    const outcome = await execute(run)
    const [message] = harness.gmail.messages.values()
    expect(outcome).toEqual({ status: 'success', result: { message_id: message!.id, thread_id: message!.threadId } })
    expect(before).toEqual([['drafts.create']])
    expect(harness.gmail.requests).toEqual(['drafts.create', 'drafts.send'])
    expect(harness.gmail.outbox).toHaveLength(1)
    expect(harness.gmail.outbox[0]!.toString()).toContain(`Message-ID: <${run.runId}@example.com>`)
    expect(harness.gmail.drafts.size).toBe(0)
  })

  test('goes out with a fresh token where the first is refused, and the refused one is named', async () => {
    harness.source.tokens = ['stale-token', 'good-token']
    harness.source.scopesOf = () => [gmailScopes.compose]
    expect(await execute()).toMatchObject({ status: 'success' })
    expect(harness.source.refused).toEqual(['stale-token'])
    expect(harness.gmail.outbox).toHaveLength(1)
  })

  test.each([
    ['no token is good any more', 'PROVIDER_UNAUTHORIZED', () => harness.gmail.tokens.clear()],
    ['the oauth service is away', 'TOKEN_UNAVAILABLE', () => (harness.source.failure = meshErrors.DEPENDENCY_UNAVAILABLE())],
    ['the account was disconnected', 'CONNECTION_UNUSABLE', () => (harness.source.failure = meshErrors.PERMISSION_DENIED())],
    ['nothing that sends was granted', 'SCOPE_MISSING', () => grant(gmailScopes.metadata)],
    ['Gmail has no time for drafts', 'PROVIDER_RATE_LIMITED', () => fails('drafts.create', { status: 429, retryAfter: '1' })],
    ['Gmail fails at the draft', 'PROVIDER_ERROR', () => fails('drafts.create', { status: 503 })],
    ['Gmail refuses the draft', 'PROVIDER_REFUSED', () => fails('drafts.create', { status: 400 })],
  ])('has failed where %s, and nothing was sent', async (_, reason, given) => {
    harness.source.scopesOf = (token) => harness.gmail.tokens.get(token) ?? [gmailScopes.compose]
    given()
    const outcome = await execute()
    expect([outcome.status, reasonOf(outcome)]).toEqual(['failed', reason])
    expect(harness.gmail.outbox).toEqual([])
  })

  test('has failed where Gmail cannot be reached', async () => {
    await harness.gmail.close()
    harness.source.scopesOf = () => [gmailScopes.compose]
    expect(await execute().then(reasonOf)).toBe('PROVIDER_UNREACHABLE')
  })

  test.each([400, 403, 429])('that Gmail refuses to send with %i has failed, and its draft is taken back', async (status) => {
    fails('drafts.send', { status })
    expect(await execute()).toMatchObject({ status: 'failed', error: { message: expect.stringContaining('the draft was deleted') } })
    expect(harness.gmail.drafts.size).toBe(0)
    expect(harness.gmail.outbox).toEqual([])
  })

  test('that Gmail refuses to send with every token has failed, and says that its draft may be left', async () => {
    fails('drafts.send', { status: 401 })
    expect(await execute()).toMatchObject({
      status: 'failed',
      error: { reason: 'PROVIDER_UNAUTHORIZED', message: expect.stringContaining('may be left') },
    })
    expect(harness.gmail.outbox).toEqual([])
  })

  test('is not sent by who no longer holds the run', async () => {
    const run = harness.run()
    run.onHeld = () => {
      throw new LeaseLostError('gone')
    }
    await expect(execute(run)).rejects.toThrow(LeaseLostError)
    expect(harness.gmail.requests).toEqual(['drafts.create'])
  })

  test('whose time is up before it is sent has failed', async () => {
    const run = harness.run()
    run.onRecord = (when) => when === 'after' && run.stop.abort()
    expect(await execute(run)).toMatchObject({ status: 'failed', error: { reason: 'RUN_STOPPED' } })
    expect(harness.gmail.outbox).toEqual([])
  })
})

describe('an answer to a send that is lost', () => {
  test.each(['lost', 'garbled'] as const)('(%s) is a success where the mail is found in its thread', async (how) => {
    fails('drafts.send', { how })
    expect(await execute()).toMatchObject({ status: 'success', result: { message_id: [...harness.gmail.messages.keys()][0] } })
    expect(harness.gmail.outbox).toHaveLength(1)
  })

  test.each([{ how: 'cut' as const }, { status: 503 }])(
    'of a mail that did not go out (%o) is followed by one that does',
    async (fault) => {
      fails('drafts.send', fault, 1)
      expect(await execute()).toMatchObject({ status: 'success' })
      expect(harness.gmail.outbox).toHaveLength(1)
    },
  )

  test('again and again ends in a draft that is taken back, and only then in failed', async () => {
    fails('drafts.send', { status: 500 })
    expect(await execute()).toMatchObject({ status: 'failed', error: { reason: 'PROVIDER_ERROR' } })
    expect(harness.gmail.requests.filter((each) => each === 'drafts.send')).toHaveLength(2)
    expect(harness.gmail.drafts.size).toBe(0)
  })

  test('again and again with a draft that cannot be taken back is unknown', async () => {
    harness.gmail.fault = ({ name }) => (name === 'drafts.send' || name === 'drafts.delete' ? { status: 500 } : undefined)
    expect(await execute()).toMatchObject({ status: 'unknown', error: { reason: 'MAIL_OUTCOME_LOST' } })
  })

  test('is unknown where the draft is gone and nothing sent is found', async () => {
    harness.gmail.fault = ({ name }) => {
      if (name !== 'drafts.send') return undefined
      for (const id of harness.gmail.drafts.keys()) harness.gmail.forget(id)
      return { how: 'cut' }
    }
    expect(await execute()).toMatchObject({ status: 'unknown', error: { reason: 'MAIL_GONE' } })
  })

  test('is unknown where nothing can be looked up', async () => {
    harness.gmail.fault = ({ name }) => (name === 'drafts.create' ? undefined : name === 'drafts.send' ? { how: 'lost' } : { status: 500 })
    expect(await execute()).toMatchObject({ status: 'unknown', error: { reason: 'MAIL_OUTCOME_LOST' } })
  })

  test('in time is unknown too, and no second mail goes out while the first is under way', async () => {
    const late = Promise.withResolvers<undefined>()
    harness.gmail.fault = ({ name, index }) => (name === 'drafts.send' && index === 0 ? late.promise : undefined)
    const outcome = await execute()
    late.resolve(undefined)
    expect(outcome).toMatchObject({ status: 'success' })
    await vi.waitFor(() => expect(harness.gmail.requests.filter((each) => each === 'drafts.send')).toHaveLength(2))
    expect(harness.gmail.outbox).toHaveLength(1)
  })
})

describe('with less than all scopes', () => {
  test('a draft that is gone is unknown where its thread may not be looked into', async () => {
    grant(gmailScopes.compose)
    fails('drafts.send', { how: 'lost' })
    expect(await execute()).toMatchObject({ status: 'unknown' })
    expect(harness.gmail.outbox).toHaveLength(1)
  })

  test('sending alone sends at once, and an answer that is lost is unknown', async () => {
    grant(gmailScopes.send)
    expect(await execute()).toMatchObject({ status: 'success' })
    expect(harness.gmail.requests).toEqual(['messages.send'])
    fails('messages.send', { how: 'lost' })
    expect(await execute()).toMatchObject({ status: 'unknown', error: { reason: 'MAIL_OUTCOME_LOST' } })
    fails('messages.send', { status: 403 })
    expect(await execute()).toMatchObject({ status: 'failed', error: { reason: 'PROVIDER_FORBIDDEN' } })
  })

  test('sending alone, a crash after the point was recorded is unknown and one before it sends', async () => {
    grant(gmailScopes.send)
    for (const [when, status, mails] of [
      ['after', 'unknown', 0],
      ['before', 'success', 1],
    ] as const) {
      const run = harness.run()
      run.onRecord = (at) => {
        if (at === when) throw new KilledError()
      }
      await expect(execute(run)).rejects.toThrow(KilledError)
      run.onRecord = () => undefined
      expect(await reconcile(run)).toMatchObject({ status })
      expect(harness.gmail.outbox).toHaveLength(mails)
    }
  })
})

describe('after a crash', () => {
  const crash = async (run: StoredRun) => {
    await expect(execute(run)).rejects.toThrow(KilledError)
    run.onRecord = () => undefined
    run.onHeld = () => undefined
    harness.gmail.fault = () => undefined
  }
  const killing = () => {
    throw new KilledError()
  }

  test('before anything, the mail is sent', async () => {
    expect(await reconcile(harness.run())).toMatchObject({ status: 'success' })
    expect(harness.gmail.outbox).toHaveLength(1)
  })

  test('between the draft and its record, a new draft is sent and the stray one taken away', async () => {
    const run = harness.run()
    run.onRecord = (when) => when === 'before' && killing()
    await crash(run)
    expect(harness.gmail.drafts.size).toBe(1)
    expect(await reconcile(run)).toMatchObject({ status: 'success' })
    expect([harness.gmail.outbox.length, harness.gmail.drafts.size]).toEqual([1, 0])
  })

  test("a search that answers everything does not cost anybody else's drafts", async () => {
    const [other, run] = [harness.run(), harness.run()]
    other.onRecord = (when) => when === 'before' && killing()
    await crash(other)
    harness.gmail.fault = ({ name }) =>
      name === 'drafts.list'
        ? { status: 200, body: JSON.stringify({ drafts: [...harness.gmail.drafts.keys()].map((id) => ({ id })) }) }
        : undefined
    expect(await reconcile(run)).toMatchObject({ status: 'success' })
    expect(harness.gmail.drafts.size).toBe(1)
  })

  test('between the record and the send, the recorded draft is sent', async () => {
    const run = harness.run()
    run.onRecord = (when) => when === 'after' && killing()
    await crash(run)
    expect(await reconcile(run)).toMatchObject({ status: 'success' })
    expect(harness.gmail.requests.filter((each) => each === 'drafts.create')).toHaveLength(1)
    expect(harness.gmail.outbox).toHaveLength(1)
  })

  test('after the send, the sent mail is found and nothing is sent again', async () => {
    const run = harness.run()
    expect(await execute(run)).toMatchObject({ status: 'success' })
    const [message] = harness.gmail.messages.values()
    expect(await reconcile(run)).toEqual({ status: 'success', result: { message_id: message!.id, thread_id: message!.threadId } })
    expect(harness.gmail.outbox).toHaveLength(1)
  })

  test('after the send, a mail that was deleted since is unknown, never sent again', async () => {
    const run = harness.run()
    await execute(run)
    for (const id of harness.gmail.messages.keys()) harness.gmail.forget(id)
    expect(await reconcile(run)).toMatchObject({ status: 'unknown', error: { reason: 'MAIL_GONE' } })
    expect(harness.gmail.outbox).toHaveLength(1)
  })

  test('a refusal of the recorded draft is failed only once the draft is taken back', async () => {
    const run = harness.run()
    run.onRecord = (when) => when === 'after' && killing()
    await crash(run)
    harness.gmail.fault = ({ name }) => (name === 'drafts.send' || name === 'drafts.delete' ? { status: 429 } : undefined)
    expect(await reconcile(run)).toMatchObject({ status: 'unknown' })
    fails('drafts.send', { status: 429 })
    expect(await reconcile(run)).toMatchObject({ status: 'failed', error: { reason: 'PROVIDER_RATE_LIMITED' } })
    expect([harness.gmail.outbox.length, harness.gmail.drafts.size]).toEqual([0, 0])
  })

  test('of a crash, at whatever request and however its answer went, at most one mail goes out and what is said of it is so', async () => {
    const faults = [undefined, { how: 'lost' }, { how: 'cut' }, { status: 503 }, { status: 429 }, { status: 401 }] as const
    const points = ['before', 'after', 'held', 'none'] as const
    for (const draft of faults) {
      for (const send of faults) {
        for (const at of points) {
          const run = harness.run()
          run.onRecord = (when) => when === at && killing()
          run.onHeld = () => void (at === 'held' && killing())
          harness.gmail.fault = ({ name }) => (name === 'drafts.create' ? draft : name === 'drafts.send' ? send : undefined)
          const before = harness.gmail.outbox.length
          const outcome = await execute(run).catch((error: unknown) => {
            if (!(error instanceof KilledError)) throw error
            run.onRecord = () => undefined
            run.onHeld = () => undefined
            return reconcile(run)
          })
          const mails = harness.gmail.outbox.length - before
          reasonOf(outcome)
          const label = JSON.stringify({ draft, send, at, outcome })
          expect(mails, label).toBeLessThanOrEqual(1)
          if (outcome.status === 'success') expect(mails, label).toBe(1)
          if (outcome.status === 'failed') expect(mails, label).toBe(0)
        }
      }
    }
  })
})

describe('a preview', () => {
  const connected = (scopes: readonly string[], account = 'ada@example.com') => ({
    connectionId: 'c',
    account,
    scopes,
    status: 'connected' as const,
    reason: undefined,
  })
  const context = (connection?: ReturnType<typeof connected>) => ({
    workspace: 'acme',
    actor: 'ada',
    signal: new AbortController().signal,
    connection,
  })
  const preview = (json: Record<string, unknown>, connection?: ReturnType<typeof connected>) =>
    harness.adapter.preview(mailParams.parse({ to: ['bob@example.com'], subject: 's', text: 't', ...json }), context(connection))
  const all = [gmailScopes.compose, gmailScopes.metadata]

  test('shows the very mail, from the connected account, and asks Gmail nothing', async () => {
    const pdf = Buffer.from('%PDF-1.7 x').toString('base64')
    const asked = {
      cc: [{ address: 'eve@example.com', name: 'Eve' }],
      subject: 'Report',
      text: 'Two\r\nlines',
      attachments: [{ filename: 'r.pdf', content_type: 'application/pdf', content: pdf }],
    }
    const shown = await preview(asked, connected(all))
    expect(shown.summary).toMatch(
      /^From: ada@example\.com\nTo: bob@example\.com\nCc: Eve <eve@example\.com>\nSubject: Report\nAttachments: r\.pdf \(application\/pdf, 10 bytes\)\nSize: [\d.]+ (?:KiB|bytes)\n\nTwo\nlines$/,
    )
    expect(shown.warnings).toEqual([])
    expect(shown.params).toMatchObject({ from: { address: 'ada@example.com' }, to: [{ address: 'bob@example.com' }], text: 'Two\nlines' })
    // What is stored is taken again as it is.
    expect(harness.adapter.params.parse(JSON.parse(JSON.stringify(shown.params)))).toEqual(JSON.parse(JSON.stringify(shown.params)))
    expect(harness.gmail.requests).toEqual([])
  })

  test('warns of recipients outside, of many, of names that look like other addresses, and of files that Gmail blocks', async () => {
    const to = [
      'x@elsewhere.example',
      ...Array.from({ length: 10 }, (_, index) => `p${index}@example.com`),
      { address: 'm@example.com', name: 'boss@example.com' },
    ]
    const file = { filename: 'setup.EXE. ', content_type: 'application/octet-stream', content: '' }
    const { warnings } = await preview({ to, attachments: [file] }, connected(all))
    expect(warnings).toEqual([
      'Goes outside example.com: x@elsewhere.example.',
      'Goes to 12 recipients.',
      '"boss@example.com" is a name here: the mail goes to m@example.com.',
      'Gmail blocks files such as setup.EXE. : the mail may be refused.',
    ])
  })

  test('refuses to be from anybody but the connected account', async () => {
    await expect(preview({ from: 'boss@example.com' }, connected(all))).rejects.toMatchObject({ violations: [{ field: 'params.from' }] })
    expect((await preview({ from: 'Ada@Example.com' }, connected(all))).summary).toContain('From: Ada@Example.com')
  })

  test('says of the scopes that were granted what they cannot do', () => {
    const { warn } = harness.adapter.requires!
    expect(warn!(all)).toEqual([])
    expect(warn!([gmailScopes.full])).toEqual([])
    expect(warn!([gmailScopes.compose])[0]).toMatch(/gmail\.metadata/)
    expect(warn!([gmailScopes.send])[0]).toMatch(/alone.*unknown/)
    expect(warn!([])[0]).toMatch(/will fail/)
  })
})
