/**
 * `gmail.send_email`: one mail from a connected Gmail account.
 *
 * It takes two steps, so that a crash never sends twice: create a draft and record its id, then send the draft. Gmail deletes a draft when
 * it sends it, so its id works once. If the draft exists afterwards, it was not sent, and may be sent or deleted; if not, the adapter looks
 * for a sent message in its thread. Nothing is sent without a recorded draft.
 *
 * Required scopes (https://developers.google.com/workspace/gmail/api/auth/scopes): gmail.compose for the draft, gmail.metadata to read the
 * thread. With gmail.compose alone, a missing draft leaves the outcome unknown. With gmail.send alone, the mail is sent in one step, and a
 * lost response leaves the outcome unknown.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { z } from 'zod'
import type { Adapter, Outcome, RunHandle } from '../../services/actions/adapter.ts'
import { type Mail, compose, mailParams, messageIdOf, showMail } from '../../services/actions/adapters/mail.ts'
import {
  type ApiResponse,
  ApiFailure,
  type ApiReason,
  type ApiParts,
  apiReasons,
  providerApi,
} from '../../services/actions/adapters/provider-http.ts'
import { googleClient } from './client.ts'
import { readGoogleError } from './errors.ts'

const scope = (name: string) => `https://www.googleapis.com/auth/gmail.${name}`
const everything = ['https://mail.google.com/', scope('modify')]
const drafting = [...everything, scope('compose')]
const looking = [...everything, scope('metadata'), scope('readonly')]
const anyOf = (granted: readonly string[], some: readonly string[]) => some.some((each) => granted.includes(each))

/** Every reason of this adapter's outcomes, beside those of its calls. */
export const googleMailReasons = [
  ...apiReasons,
  'SCOPE_MISSING', // failed: the account has granted no scope that can send
  'MAIL_GONE', // unknown: its draft is gone, and no sent message is found
  'MAIL_OUTCOME_LOST', // unknown: a crash or a lost response hides the result
] as const
export type GoogleMailReason = ApiReason | 'SCOPE_MISSING' | 'MAIL_GONE' | 'MAIL_OUTCOME_LOST'

export interface GoogleMailOptions extends ApiParts {
  /** How long after an unclear response to a send the draft is looked up: the send may still be in progress. */
  settleMs?: number
  /** Milliseconds since the epoch. */
  now?: () => number
}

/** What a later look-up needs. It is recorded before anything can have been sent. */
const point = z.discriminatedUnion('via', [
  z.object({ via: z.literal('draft'), date: z.string(), draft_id: z.string(), thread_id: z.string() }),
  z.object({ via: z.literal('send'), date: z.string() }),
])
type DraftPoint = Extract<z.output<typeof point>, { via: 'draft' }>

const id = z.string().regex(/^[\w-]{1,256}$/)
const message = z.object({ id, threadId: id })
const draftAnswer = z.object({ id, message })
const threadAnswer = z.object({ messages: z.array(z.object({ id, labelIds: z.array(z.string()).optional() })).optional() })
const draftsAnswer = z.object({ drafts: z.array(z.object({ id })).optional() })
const headersAnswer = z.object({
  message: z.object({ payload: z.object({ headers: z.array(z.object({ name: z.string(), value: z.string() })) }) }),
})

/** The state of a draft that may have been sent. */
type Whereabouts = { at: 'drafts' } | { at: 'sent'; messageId: string } | { at: 'nowhere' } | { at: 'unclear'; why: string }

/** Maximum sends of one draft per attempt; its id works once however often it is sent. */
const maxSends = 2

const me = { userId: 'me' } as const

export function googleMailAdapter(options: GoogleMailOptions): Adapter<Mail> {
  const { connections, settleMs = 2_000, now = Date.now, ...rest } = options
  const api = providerApi({ provider: 'google', readError: readGoogleError, connections, ...rest })
  const gmail = googleClient('gmail', api)

  return {
    action: 'gmail.send_email',
    provider: 'google',
    description: 'Sends one mail from the connected Gmail account.',
    guarantee:
      'At most one mail per run: a draft is created first, and after a lost response Relay looks up what became of it. Where the account has not granted gmail.compose and gmail.metadata, the outcome stays unknown.',
    reasons: googleMailReasons,
    params: mailParams,
    requires: { provider: 'google', scopes: [scope('compose'), scope('metadata')], warn: scopeWarnings },
    unavailable: () => connections.unavailable,

    async preview(params, { connection }) {
      const shown = await showMail(params, connection?.account)
      return { ...shown, warnings: [...shown.warnings, ...blockedWarnings(params)] }
    },

    execute: send,

    async reconcile(mail, run) {
      // Nothing is sent before a recovery point is recorded: without one, the action may start again.
      if (run.recovery === undefined) {
        await discardStrays(mail, run)
        return send(mail, run)
      }
      const known = point.parse(run.recovery)
      if (known.via === 'send') return lost('A crash or an outage here hides whether the mail was sent.')
      const found = await lookUp(run, known)
      return found.at === 'drafts' ? sendDraft(run, known, false) : judge(found, known)
    },
  }

  async function send(mail: Mail, run: RunHandle): Promise<Outcome> {
    const date = new Date(now())
    try {
      const granted = await api.scopes(run)
      const raw = (await compose(mail, { runId: run.runId, date })).toString('base64url')
      if (anyOf(granted, drafting)) return await byDraft(mail, run, raw, date)
      if (granted.includes(scope('send'))) return await sendAtOnce(run, raw, date)
      return ended('failed', 'SCOPE_MISSING', `The account has granted neither ${scope('compose')} nor ${scope('send')}. Nothing was sent.`)
    } catch (error) {
      // Every error that gets here happened before anything was sent.
      if (error instanceof ApiFailure) return ended('failed', error.reason, `${error.message} Nothing was sent.`)
      throw error
    }
  }

  /** Throws ApiFailure while nothing was sent. */
  async function byDraft(mail: Mail, run: RunHandle, raw: string, date: Date): Promise<Outcome> {
    let draft: z.output<typeof draftAnswer>
    try {
      const asked = await gmail.request(run, ({ users }, via) => users.drafts.create({ ...me, requestBody: { message: { raw } } }, via))
      draft = read(draftAnswer, asked)
    } catch (error) {
      if (error instanceof ApiFailure && error.kind === 'unclear') await discardStrays(mail, run)
      throw error
    }
    const made: DraftPoint = { via: 'draft', date: date.toISOString(), draft_id: draft.id, thread_id: draft.message.threadId }
    await run.record(made)
    return sendDraft(run, made, true)
  }

  /** `alone`: no other attempt can have sent this draft, so a rejection proves that it was not sent. */
  async function sendDraft(run: RunHandle, known: DraftPoint, alone: boolean): Promise<Outcome> {
    for (let sends = 1; ; sends += 1) {
      try {
        const send = { ...me, requestBody: { id: known.draft_id } }
        return sent(read(message, await gmail.request(run, ({ users }, via) => users.drafts.send(send, via), { effect: true })))
      } catch (failure) {
        if (!(failure instanceof ApiFailure)) throw failure
        const unclear = failure.kind === 'unclear'
        if (!unclear && failure.reason !== 'PROVIDER_NOT_FOUND') return withdraw(run, known, failure, alone && sends === 1)
        if (unclear) await pause(settleMs, undefined, { signal: run.signal }).catch(() => undefined)
        const found = await lookUp(run, known)
        if (found.at !== 'drafts') return judge(found, known)
        if (sends === maxSends) return withdraw(run, known, failure, false)
      }
    }
  }

  /** Deletes the draft, so that `failed` stays true. */
  async function withdraw(run: RunHandle, known: DraftPoint, why: ApiFailure, alone: boolean): Promise<Outcome> {
    try {
      await gmail.request(run, ({ users }, via) => users.drafts.delete({ ...me, id: known.draft_id }, via), { effect: true })
      return ended('failed', why.reason, `${why.message} Nothing was sent; the draft was deleted.`)
    } catch (error) {
      if (!(error instanceof ApiFailure)) throw error
      const found = await lookUp(run, known)
      if (found.at === 'sent') return judge(found, known)
      if (alone) return ended('failed', why.reason, `${why.message} Nothing was sent; a draft of it may be left in the account.`)
      return found.at === 'drafts' ? lost(`${why.message} The draft could not be deleted either.`) : judge(found, known)
    }
  }

  async function lookUp(run: RunHandle, known: DraftPoint): Promise<Whereabouts> {
    try {
      await gmail.request(run, ({ users }, via) => users.drafts.get({ ...me, id: known.draft_id, format: 'minimal' }, via))
      return { at: 'drafts' }
    } catch (error) {
      if (!(error instanceof ApiFailure)) throw error
      if (error.reason !== 'PROVIDER_NOT_FOUND') return { at: 'unclear', why: error.message }
    }
    try {
      const thread = { ...me, id: known.thread_id, format: 'minimal' }
      const { messages = [] } = read(threadAnswer, await gmail.request(run, ({ users }, via) => users.threads.get(thread, via)))
      const out = messages.find(({ labelIds = [] }) => labelIds.includes('SENT'))
      return out === undefined ? { at: 'nowhere' } : { at: 'sent', messageId: out.id }
    } catch (error) {
      if (!(error instanceof ApiFailure)) throw error
      return error.reason === 'PROVIDER_NOT_FOUND' ? { at: 'nowhere' } : { at: 'unclear', why: error.message }
    }
  }

  /**
   * Deletes drafts of this run that no record names, if they are found: they will never be sent. Each is identified by its Message-ID,
   * which is the run's, whatever the search returns.
   */
  async function discardStrays(mail: Mail, run: RunHandle): Promise<void> {
    const own = messageIdOf(mail, run.runId)
    try {
      const query = { ...me, q: `rfc822msgid:${own.slice(1, -1)}`, maxResults: 5 }
      const { drafts = [] } = read(draftsAnswer, await gmail.request(run, ({ users }, via) => users.drafts.list(query, via)))
      for (const draft of drafts) {
        const one = { ...me, id: draft.id }
        const asked = await gmail.request(run, ({ users }, via) => users.drafts.get({ ...one, format: 'metadata' }, via))
        const { message: found } = read(headersAnswer, asked)
        const mine = found.payload.headers.some(({ name, value }) => name.toLowerCase() === 'message-id' && value === own)
        if (mine) await gmail.request(run, ({ users }, via) => users.drafts.delete(one, via), { effect: true })
      }
    } catch (error) {
      // What is left is a draft that is never sent.
      if (!(error instanceof ApiFailure)) throw error
    }
  }

  async function sendAtOnce(run: RunHandle, raw: string, date: Date): Promise<Outcome> {
    const point = { via: 'send', date: date.toISOString() }
    try {
      const send = { ...me, requestBody: { raw } }
      return sent(read(message, await gmail.request(run, ({ users }, via) => users.messages.send(send, via), { effect: true, point })))
    } catch (error) {
      if (error instanceof ApiFailure && error.kind === 'unclear') return lost(`${error.message} Whether the mail was sent is not known.`)
      throw error
    }
  }

  /** Parses a response; any other shape says nothing. */
  function read<T>(shape: z.ZodType<T>, response: ApiResponse): T {
    const parsed = shape.safeParse(response.json)
    if (parsed.success) return parsed.data
    throw new ApiFailure('unclear', 'PROVIDER_GARBLED', `google answered ${response.status}, but not what it says it answers.`, {
      status: response.status,
    })
  }
}

function ended(status: 'failed' | 'unknown', reason: GoogleMailReason, text: string): Outcome {
  return { status, error: { reason, message: text } }
}

const lost = (text: string) =>
  ended('unknown', 'MAIL_OUTCOME_LOST', `${text} Look into the account's Sent folder before you send it again.`)

const sent = (out: z.output<typeof message>): Outcome => ({ status: 'success', result: { message_id: out.id, thread_id: out.threadId } })

/** The outcome of a mail whose draft is gone or cannot be looked up. */
function judge(found: Exclude<Whereabouts, { at: 'drafts' }>, known: DraftPoint): Outcome {
  switch (found.at) {
    case 'sent':
      return sent({ id: found.messageId, threadId: known.thread_id })
    case 'nowhere':
      return ended(
        'unknown',
        'MAIL_GONE',
        'The draft of the mail is gone, and no sent message is found in its thread: someone may have deleted either.',
      )
    case 'unclear':
      return lost(`What became of the mail cannot be looked up: ${found.why}`)
  }
}

function scopeWarnings(granted: readonly string[]): string[] {
  if (anyOf(granted, drafting)) {
    if (anyOf(granted, looking)) return []
    return [`The account has not granted ${scope('metadata')}: if a crash hides what came of the mail, the outcome may stay unknown.`]
  }
  if (granted.includes(scope('send'))) {
    return [
      `The account has granted ${scope('send')} alone: if the answer is lost, the outcome stays unknown. ${scope('compose')} and ${scope('metadata')} prevent that.`,
    ]
  }
  return [`The account has not granted ${scope('compose')}: connect it again, or this will fail.`]
}

/** https://support.google.com/mail/answer/6590: Gmail rejects mails with files of these types, also inside archives. */
const blocked = new RegExp(
  `\\.(?:${(
    'ade adp apk appx appxbundle bat cab chm cmd com cpl diagcab diagcfg diagpkg dll dmg ex ex_ exe hta img ins iso isp jar jnlp js jse lib lnk mde mjs ' +
    'msc msi msix msixbundle msp mst nsh pif ps1 scr sct shb sys vb vbe vbs vhd vxd wsc wsf wsh xll'
  ).replaceAll(' ', '|')})$`,
  'i',
)

const blockedWarnings = ({ attachments = [] }: Mail): string[] =>
  attachments
    .filter(
      ({ filename, content_type: type }) =>
        blocked.test(filename.replace(/[. ]+$/, '')) || /x-msdownload|x-executable|portable-executable/.test(type),
    )
    .map(({ filename }) => `Gmail blocks files such as ${filename}: the mail may be refused.`)
