/** gmail.send_email: what is sent, what a preview says, and what is said of what cannot be known. */
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { meshErrors } from '#mesh/errors.ts'
import { mailParams } from '../../../services/actions/adapters/mail.ts'
import { LeaseLost } from '../../../services/actions/lease.ts'
import { type GmailMethod, gmailScopes } from '../../fakes/gmail.ts'
import { Killed, type MailStage, type StoredRun, mail, mailStage, reasonOf } from './google-mail-stage.ts'

let on: MailStage
beforeEach(async () => {
  on = await mailStage()
})

const execute = (run: StoredRun = on.run()) => on.adapter.execute(mail, run.handle())
const reconcile = (run: StoredRun) => on.adapter.reconcile(mail, run.handle())
const grant = (...scopes: string[]) => on.gmail.tokens.set('good-token', scopes)
const fails = (name: GmailMethod, fault: ReturnType<MailStage['gmail']['fault']>, only = Infinity) => {
  on.gmail.fault = (asked) => (asked.name === name && asked.index < only ? fault : undefined)
}

describe('a mail', () => {
  test('goes out once, by a draft that is recorded before it is sent', async () => {
    const run = on.run()
    const before: GmailMethod[][] = []
    run.onRecord = (when) => when === 'after' && before.push([...on.gmail.asked])
    const outcome = await execute(run)
    const [message] = on.gmail.messages.values()
    expect(outcome).toEqual({ status: 'success', result: { message_id: message!.id, thread_id: message!.threadId } })
    expect(before).toEqual([['drafts.create']])
    expect(on.gmail.asked).toEqual(['drafts.create', 'drafts.send'])
    expect(on.gmail.outbox).toHaveLength(1)
    expect(on.gmail.outbox[0]!.toString()).toContain(`Message-ID: <${run.runId}@example.com>`)
    expect(on.gmail.drafts.size).toBe(0)
  })

  test('goes out with a fresh token where the first is refused, and the refused one is named', async () => {
    on.source.tokens = ['stale-token', 'good-token']
    on.source.scopesOf = () => [gmailScopes.compose]
    expect(await execute()).toMatchObject({ status: 'success' })
    expect(on.source.refused).toEqual(['stale-token'])
    expect(on.gmail.outbox).toHaveLength(1)
  })

  test.each([
    ['no token is good any more', 'PROVIDER_UNAUTHORIZED', () => on.gmail.tokens.clear()],
    ['the oauth service is away', 'TOKEN_UNAVAILABLE', () => (on.source.failure = meshErrors.DEPENDENCY_UNAVAILABLE())],
    ['the account was disconnected', 'CONNECTION_UNUSABLE', () => (on.source.failure = meshErrors.PERMISSION_DENIED())],
    ['nothing that sends was granted', 'SCOPE_MISSING', () => grant(gmailScopes.metadata)],
    ['Gmail has no time for drafts', 'PROVIDER_RATE_LIMITED', () => fails('drafts.create', { status: 429, retryAfter: '1' })],
    ['Gmail fails at the draft', 'PROVIDER_ERROR', () => fails('drafts.create', { status: 503 })],
    ['Gmail refuses the draft', 'PROVIDER_REFUSED', () => fails('drafts.create', { status: 400 })],
  ])('has failed where %s, and nothing was sent', async (_, reason, given) => {
    on.source.scopesOf = (token) => on.gmail.tokens.get(token) ?? [gmailScopes.compose]
    given()
    const outcome = await execute()
    expect([outcome.status, reasonOf(outcome)]).toEqual(['failed', reason])
    expect(on.gmail.outbox).toEqual([])
  })

  test('has failed where Gmail cannot be reached', async () => {
    await on.gmail.close()
    on.source.scopesOf = () => [gmailScopes.compose]
    expect(await execute().then(reasonOf)).toBe('PROVIDER_UNREACHABLE')
  })

  test.each([400, 403, 429])('that Gmail refuses to send with %i has failed, and its draft is taken back', async (status) => {
    fails('drafts.send', { status })
    expect(await execute()).toMatchObject({ status: 'failed', error: { message: expect.stringContaining('the draft was deleted') } })
    expect(on.gmail.drafts.size).toBe(0)
    expect(on.gmail.outbox).toEqual([])
  })

  test('that Gmail refuses to send with every token has failed, and says that its draft may be left', async () => {
    fails('drafts.send', { status: 401 })
    expect(await execute()).toMatchObject({ status: 'failed', error: { reason: 'PROVIDER_UNAUTHORIZED', message: expect.stringContaining('may be left') } })
    expect(on.gmail.outbox).toEqual([])
  })

  test('is not sent by who no longer holds the run', async () => {
    const run = on.run()
    run.onHeld = () => {
      throw new LeaseLost('gone')
    }
    await expect(execute(run)).rejects.toThrow(LeaseLost)
    expect(on.gmail.asked).toEqual(['drafts.create'])
  })

  test('whose time is up before it is sent has failed', async () => {
    const run = on.run()
    run.onRecord = (when) => when === 'after' && run.stop.abort()
    expect(await execute(run)).toMatchObject({ status: 'failed', error: { reason: 'RUN_STOPPED' } })
    expect(on.gmail.outbox).toEqual([])
  })
})

describe('an answer to a send that is lost', () => {
  test.each(['lost', 'garbled'] as const)('(%s) is a success where the mail is found in its thread', async (how) => {
    fails('drafts.send', { how })
    expect(await execute()).toMatchObject({ status: 'success', result: { message_id: [...on.gmail.messages.keys()][0] } })
    expect(on.gmail.outbox).toHaveLength(1)
  })

  test.each([{ how: 'cut' as const }, { status: 503 }])('of a mail that did not go out (%o) is followed by one that does', async (fault) => {
    fails('drafts.send', fault, 1)
    expect(await execute()).toMatchObject({ status: 'success' })
    expect(on.gmail.outbox).toHaveLength(1)
  })

  test('again and again ends in a draft that is taken back, and only then in failed', async () => {
    fails('drafts.send', { status: 500 })
    expect(await execute()).toMatchObject({ status: 'failed', error: { reason: 'PROVIDER_ERROR' } })
    expect(on.gmail.asked.filter((each) => each === 'drafts.send')).toHaveLength(2)
    expect(on.gmail.drafts.size).toBe(0)
  })

  test('again and again with a draft that cannot be taken back is unknown', async () => {
    on.gmail.fault = ({ name }) => (name === 'drafts.send' || name === 'drafts.delete' ? { status: 500 } : undefined)
    expect(await execute()).toMatchObject({ status: 'unknown', error: { reason: 'MAIL_OUTCOME_LOST' } })
  })

  test('is unknown where the draft is gone and nothing sent is found', async () => {
    on.gmail.fault = ({ name }) => {
      if (name !== 'drafts.send') return undefined
      for (const id of on.gmail.drafts.keys()) on.gmail.forget(id)
      return { how: 'cut' }
    }
    expect(await execute()).toMatchObject({ status: 'unknown', error: { reason: 'MAIL_GONE' } })
  })

  test('is unknown where nothing can be looked up', async () => {
    on.gmail.fault = ({ name }) => (name === 'drafts.create' ? undefined : name === 'drafts.send' ? { how: 'lost' } : { status: 500 })
    expect(await execute()).toMatchObject({ status: 'unknown', error: { reason: 'MAIL_OUTCOME_LOST' } })
  })

  test('in time is unknown too, and no second mail goes out while the first is under way', async () => {
    const late = Promise.withResolvers<undefined>()
    on.gmail.fault = ({ name, index }) => (name === 'drafts.send' && index === 0 ? late.promise : undefined)
    const outcome = await execute()
    late.resolve(undefined)
    expect(outcome).toMatchObject({ status: 'success' })
    await vi.waitFor(() => expect(on.gmail.asked.filter((each) => each === 'drafts.send')).toHaveLength(2))
    expect(on.gmail.outbox).toHaveLength(1)
  })
})

describe('with less than all scopes', () => {
  test('a draft that is gone is unknown where its thread may not be looked into', async () => {
    grant(gmailScopes.compose)
    fails('drafts.send', { how: 'lost' })
    expect(await execute()).toMatchObject({ status: 'unknown' })
    expect(on.gmail.outbox).toHaveLength(1)
  })

  test('sending alone sends at once, and an answer that is lost is unknown', async () => {
    grant(gmailScopes.send)
    expect(await execute()).toMatchObject({ status: 'success' })
    expect(on.gmail.asked).toEqual(['messages.send'])
    fails('messages.send', { how: 'lost' })
    expect(await execute()).toMatchObject({ status: 'unknown', error: { reason: 'MAIL_OUTCOME_LOST' } })
    fails('messages.send', { status: 403 })
    expect(await execute()).toMatchObject({ status: 'failed', error: { reason: 'PROVIDER_FORBIDDEN' } })
  })

  test('sending alone, a crash after the point was recorded is unknown and one before it sends', async () => {
    grant(gmailScopes.send)
    for (const [when, status, mails] of [['after', 'unknown', 0], ['before', 'success', 1]] as const) {
      const run = on.run()
      run.onRecord = (at) => {
        if (at === when) throw new Killed()
      }
      await expect(execute(run)).rejects.toThrow(Killed)
      run.onRecord = () => undefined
      expect(await reconcile(run)).toMatchObject({ status })
      expect(on.gmail.outbox).toHaveLength(mails)
    }
  })
})

describe('after a crash', () => {
  const crash = async (run: StoredRun) => {
    await expect(execute(run)).rejects.toThrow(Killed)
    run.onRecord = () => undefined
    run.onHeld = () => undefined
    on.gmail.fault = () => undefined
  }
  const killing = () => {
    throw new Killed()
  }

  test('before anything, the mail is sent', async () => {
    expect(await reconcile(on.run())).toMatchObject({ status: 'success' })
    expect(on.gmail.outbox).toHaveLength(1)
  })

  test('between the draft and its record, a new draft is sent and the stray one taken away', async () => {
    const run = on.run()
    run.onRecord = (when) => when === 'before' && killing()
    await crash(run)
    expect(on.gmail.drafts.size).toBe(1)
    expect(await reconcile(run)).toMatchObject({ status: 'success' })
    expect([on.gmail.outbox.length, on.gmail.drafts.size]).toEqual([1, 0])
  })

  test("a search that answers everything does not cost anybody else's drafts", async () => {
    const [other, run] = [on.run(), on.run()]
    other.onRecord = (when) => when === 'before' && killing()
    await crash(other)
    on.gmail.fault = ({ name }) => (name === 'drafts.list' ? { status: 200, body: JSON.stringify({ drafts: [...on.gmail.drafts.keys()].map((id) => ({ id })) }) } : undefined)
    expect(await reconcile(run)).toMatchObject({ status: 'success' })
    expect(on.gmail.drafts.size).toBe(1)
  })

  test('between the record and the send, the recorded draft is sent', async () => {
    const run = on.run()
    run.onRecord = (when) => when === 'after' && killing()
    await crash(run)
    expect(await reconcile(run)).toMatchObject({ status: 'success' })
    expect(on.gmail.asked.filter((each) => each === 'drafts.create')).toHaveLength(1)
    expect(on.gmail.outbox).toHaveLength(1)
  })

  test('after the send, the sent mail is found and nothing is sent again', async () => {
    const run = on.run()
    expect(await execute(run)).toMatchObject({ status: 'success' })
    const [message] = on.gmail.messages.values()
    expect(await reconcile(run)).toEqual({ status: 'success', result: { message_id: message!.id, thread_id: message!.threadId } })
    expect(on.gmail.outbox).toHaveLength(1)
  })

  test('after the send, a mail that was deleted since is unknown, never sent again', async () => {
    const run = on.run()
    await execute(run)
    for (const id of on.gmail.messages.keys()) on.gmail.forget(id)
    expect(await reconcile(run)).toMatchObject({ status: 'unknown', error: { reason: 'MAIL_GONE' } })
    expect(on.gmail.outbox).toHaveLength(1)
  })

  test('a refusal of the recorded draft is failed only once the draft is taken back', async () => {
    const run = on.run()
    run.onRecord = (when) => when === 'after' && killing()
    await crash(run)
    on.gmail.fault = ({ name }) => (name === 'drafts.send' || name === 'drafts.delete' ? { status: 429 } : undefined)
    expect(await reconcile(run)).toMatchObject({ status: 'unknown' })
    fails('drafts.send', { status: 429 })
    expect(await reconcile(run)).toMatchObject({ status: 'failed', error: { reason: 'PROVIDER_RATE_LIMITED' } })
    expect([on.gmail.outbox.length, on.gmail.drafts.size]).toEqual([0, 0])
  })

  test('of a crash, at whatever request and however its answer went, at most one mail goes out and what is said of it is so', async () => {
    const faults = [undefined, { how: 'lost' }, { how: 'cut' }, { status: 503 }, { status: 429 }, { status: 401 }] as const
    const points = ['before', 'after', 'held', 'none'] as const
    for (const draft of faults) {
      for (const send of faults) {
        for (const at of points) {
          const run = on.run()
          run.onRecord = (when) => when === at && killing()
          run.onHeld = () => void (at === 'held' && killing())
          on.gmail.fault = ({ name }) => (name === 'drafts.create' ? draft : name === 'drafts.send' ? send : undefined)
          const before = on.gmail.outbox.length
          const outcome = await execute(run).catch((error: unknown) => {
            if (!(error instanceof Killed)) throw error
            run.onRecord = () => undefined
            run.onHeld = () => undefined
            return reconcile(run)
          })
          const mails = on.gmail.outbox.length - before
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
    on.adapter.preview(mailParams.parse({ to: ['bob@example.com'], subject: 's', text: 't', ...json }), context(connection))
  const all = [gmailScopes.compose, gmailScopes.metadata]

  test('shows the very mail, from the connected account, and asks Gmail nothing', async () => {
    const pdf = Buffer.from('%PDF-1.7 x').toString('base64')
    const asked = { cc: [{ address: 'eve@example.com', name: 'Eve' }], subject: 'Report', text: 'Two\r\nlines', attachments: [{ filename: 'r.pdf', content_type: 'application/pdf', content: pdf }] }
    const shown = await preview(asked, connected(all))
    expect(shown.summary).toMatch(
      /^From: ada@example\.com\nTo: bob@example\.com\nCc: Eve <eve@example\.com>\nSubject: Report\nAttachments: r\.pdf \(application\/pdf, 10 bytes\)\nSize: [\d.]+ (?:KiB|bytes)\n\nTwo\nlines$/,
    )
    expect(shown.warnings).toEqual([])
    expect(shown.params).toMatchObject({ from: { address: 'ada@example.com' }, to: [{ address: 'bob@example.com' }], text: 'Two\nlines' })
    // What is stored is taken again as it is.
    expect(on.adapter.params.parse(JSON.parse(JSON.stringify(shown.params)))).toEqual(JSON.parse(JSON.stringify(shown.params)))
    expect(on.gmail.asked).toEqual([])
  })

  test('warns of recipients outside, of many, of names that look like other addresses, and of files that Gmail blocks', async () => {
    const to = ['x@elsewhere.example', ...Array.from({ length: 10 }, (_, index) => `p${index}@example.com`), { address: 'm@example.com', name: 'boss@example.com' }]
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
    const { warn } = on.adapter.connects!
    expect(warn!(all)).toEqual([])
    expect(warn!([gmailScopes.full])).toEqual([])
    expect(warn!([gmailScopes.compose])[0]).toMatch(/gmail\.metadata/)
    expect(warn!([gmailScopes.send])[0]).toMatch(/alone.*unknown/)
    expect(warn!([])[0]).toMatch(/will fail/)
  })
})
