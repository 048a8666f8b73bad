/**
 * `outlook.send_email`: https://learn.microsoft.com/graph/api/resources/message
 *
 * It creates a draft, records its id, and sends the draft: a message can be sent only once, and its immutable id tells afterwards whether
 * it was. If it is unclear whether a draft was sent, the draft is disarmed before the mail is called `failed`: only a draft's recipients
 * can be changed, so removing them proves that it was not sent, and prevents it from being sent later.
 *
 * Without Mail.ReadWrite there are no drafts: the mail is sent in one step, and an unclear outcome stays `unknown`.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { z } from 'zod'
import type { Adapter, Outcome, RunHandle } from '../../services/actions/adapter.ts'
import type { AccountRequirement } from '../../services/actions/connections.ts'
import { immutableIds, runFilter, runProperty } from './graph-item.ts'
import { typeSent } from '../../services/actions/adapters/attachment.ts'
import { type Address, type Mail, mailParams, showMail } from '../../services/actions/adapters/mail.ts'
import { plainName } from '../../services/actions/adapters/plain-text.ts'
import { ApiFailure, type ApiParts, apiReasons, providerApi } from '../../services/actions/adapters/provider-http.ts'
import { readGraphError } from './errors.ts'

/** Every reason of this adapter's outcomes. */
export const graphMailReasons = [
  ...apiReasons,
  'SCOPE_MISSING', // failed: the account has granted no scope that can send
  'MAIL_GONE', // unknown: neither the draft nor a sent mail exists
  'MAIL_STILL_DRAFT', // unknown: Graph accepted the mail, and has not sent it
  'MAIL_OUTCOME_LOST', // unknown: a crash hides the result, and it cannot be looked up
] as const
type GraphMailReason = (typeof graphMailReasons)[number]

export interface GraphMailOptions extends ApiParts {
  /** The waits before each look-up of a mail that may still be sent, in milliseconds. */
  pollIntervalMs?: readonly number[]
}

const messages = '/v1.0/me/messages'
const [sendScope, draftScope] = ['Mail.Send', 'Mail.ReadWrite']

const requires: AccountRequirement = {
  provider: 'microsoft',
  scopes: [sendScope, draftScope],
  warn: (granted) => {
    if (!granted.includes(sendScope)) return [`The account has not granted ${sendScope}: the mail cannot be sent. Reconnect it.`]
    if (granted.includes(draftScope)) return []
    return [`The account has not granted ${draftScope}: if a response is lost, Relay cannot find out whether the mail was sent.`]
  },
}

/** The state of a message: `gone` if it is neither among the drafts nor anywhere else. */
type State = 'draft' | 'sent' | 'gone' | ApiFailure

const message = z.object({ id: plainName(1024), isDraft: z.boolean() })
const found = z.object({ value: z.array(message) })

export function graphMailAdapter(options: GraphMailOptions): Adapter<Mail> {
  const { connections, pollIntervalMs = [0, 1_000, 3_000, 6_000], ...rest } = options
  const api = providerApi({ provider: 'microsoft', readError: readGraphError, connections, ...rest })

  return {
    action: 'outlook.send_email',
    provider: requires.provider,
    description: 'Sends a mail from the connected Microsoft account.',
    guarantee:
      'At most one mail per run: a draft with an id that stays is created first, and after a lost response Relay looks up what became of it.',
    reasons: graphMailReasons,
    params: mailParams,
    requires,
    unavailable: () => connections.unavailable,

    preview: (asked, { connection }) => showMail(asked, connection?.account),

    execute: begin,

    async reconcile(mail, run) {
      const { recovery } = run
      // Nothing was sent, and no earlier owner of the run can send it now: its recovery point would be rejected.
      if (recovery === undefined) return begin(mail, run)
      const { message_id: id } = recovery
      if (typeof id !== 'string') return lost(`Without ${draftScope} it cannot be looked for here: look among the sent mails.`)
      const state = await look(id, run, (now) => now !== 'sent' && now !== 'draft')
      if (state === 'draft') return send(id, run, false)
      if (state === 'sent') return success(id)
      if (state === 'gone') return gone()
      return lost(`It could not be looked for: ${state.message}`)
    },
  }

  /** From the beginning: nothing has been sent yet. Uses the draft of an earlier attempt, if there is one. */
  async function begin(mail: Mail, run: RunHandle): Promise<Outcome> {
    let id: string
    try {
      const granted = await api.scopes(run)
      if (!granted.includes(sendScope))
        return ended('failed', 'SCOPE_MISSING', `The account has not granted ${sendScope}. Nothing was sent.`)
      if (!granted.includes(draftScope)) return await sendWithoutDraft(mail, run)
      id = (run.attempt > 1 ? await findDraft(run) : undefined) ?? (await createDraft(mail, run))
    } catch (error) {
      if (!(error instanceof ApiFailure)) throw error
      return ended('failed', error.reason, `${error.message} Nothing was sent.`)
    }
    await run.record({ message_id: id })
    return send(id, run, true)
  }

  async function findDraft(run: RunHandle): Promise<string | undefined> {
    const query = { $filter: runFilter(run.runId), $select: 'id,isDraft' }
    const { json } = await api.call(run, { method: 'GET', path: messages, headers: immutableIds, query })
    return read(found, json).value.find(({ isDraft }) => isDraft)?.id
  }

  async function createDraft(mail: Mail, run: RunHandle): Promise<string> {
    const json = { ...toGraph(mail), singleValueExtendedProperties: [runProperty(run.runId)] }
    return read(message, (await api.call(run, { method: 'POST', path: messages, headers: immutableIds, json })).json).id
  }

  /** `first`: no earlier attempt can have sent it. */
  async function send(id: string, run: RunHandle, first: boolean): Promise<Outcome> {
    try {
      await api.call(run, { method: 'POST', path: `${messages}/${encodeURIComponent(id)}/send`, effect: true })
    } catch (error) {
      if (!(error instanceof ApiFailure)) throw error
      return settle(id, run, error, first && error.kind !== 'unclear')
    }
    // Graph responds before it sends.
    const state = await look(id, run, (now) => now === 'draft')
    if (state !== 'draft') return success(id)
    return ended('unknown', 'MAIL_STILL_DRAFT', 'microsoft accepted the mail, but it is still a draft: look whether it goes out.')
  }

  /** After a send that did not succeed. `unsent`: it certainly had no effect; only cleaning up is left. */
  async function settle(id: string, run: RunHandle, failure: ApiFailure, unsent: boolean): Promise<Outcome> {
    const state = await look(id, run, (now) => now !== 'sent' && !unsent && failure.kind !== 'refused')
    if (state === 'sent') return success(id)
    if (state === 'draft' && (await disarm(id, run))) return ended('failed', failure.reason, `${failure.message} The mail was not sent.`)
    if (unsent) return ended('failed', failure.reason, `${failure.message} The mail was not sent; a draft of it may be left.`)
    // A send in progress may have finished just before the draft was to be disarmed.
    if (state === 'draft' && (await look(id, run)) === 'sent') return success(id)
    if (state === 'gone') return gone()
    return ended('unknown', failure.reason, `${failure.message} ${doubt}`)
  }

  /** Whether the draft is certain never to be sent. Deletes it then; if that fails, what is left is a draft without recipients. */
  async function disarm(id: string, run: RunHandle): Promise<boolean> {
    const path = `${messages}/${encodeURIComponent(id)}`
    try {
      await api.call(run, { method: 'PATCH', path, json: { toRecipients: [], ccRecipients: [], bccRecipients: [] }, effect: true })
      await api.call(run, { method: 'DELETE', path }).catch(() => undefined)
      return true
    } catch (error) {
      if (error instanceof ApiFailure) return false
      throw error
    }
  }

  async function sendWithoutDraft(mail: Mail, run: RunHandle): Promise<Outcome> {
    try {
      await api.call(run, {
        method: 'POST',
        path: '/v1.0/me/sendMail',
        json: { message: toGraph(mail), saveToSentItems: true },
        effect: true,
        point: { without_draft: true },
      })
      return { status: 'success', result: {} }
    } catch (error) {
      if (!(error instanceof ApiFailure)) throw error
      if (error.kind !== 'unclear') return ended('failed', error.reason, `${error.message} The mail was not sent.`)
      return ended('unknown', error.reason, `${error.message} ${doubt}`)
    }
  }

  /** Once, and repeatedly while `again` says so and time is left. */
  async function look(id: string, run: RunHandle, again: (state: State) => boolean = () => false): Promise<State> {
    let state: State = 'gone'
    for (const waitMs of pollIntervalMs) {
      // A run whose time is up does not look again.
      await pause(waitMs, undefined, { signal: run.signal }).catch(() => undefined)
      state = await stateOf(id, run)
      if (!again(state) || run.signal.aborted) break
    }
    return state
  }

  async function stateOf(id: string, run: RunHandle): Promise<State> {
    try {
      const call = {
        method: 'GET',
        path: `${messages}/${encodeURIComponent(id)}`,
        headers: immutableIds,
        query: { $select: 'id,isDraft' },
      } as const
      return read(message, (await api.call(run, call)).json).isDraft ? 'draft' : 'sent'
    } catch (error) {
      if (!(error instanceof ApiFailure)) throw error
      return error.reason === 'PROVIDER_NOT_FOUND' ? 'gone' : error
    }
  }
}

function read<T>(schema: z.ZodType<T>, json: unknown): T {
  const parsed = schema.safeParse(json)
  if (!parsed.success) throw new ApiFailure('unclear', 'PROVIDER_GARBLED', 'microsoft answered with something that is not a message.')
  return parsed.data
}

const recipient = ({ address, name }: Address) => ({ emailAddress: { address, ...(name === undefined ? {} : { name }) } })

/** The mail in Graph's format. Graph sets the sender to the account. */
function toGraph({ to, cc = [], bcc = [], reply_to, subject, text, attachments = [] }: Mail) {
  return {
    subject,
    body: { contentType: 'text', content: text },
    toRecipients: to.map(recipient),
    ccRecipients: cc.map(recipient),
    bccRecipients: bcc.map(recipient),
    ...(reply_to === undefined ? {} : { replyTo: [recipient(reply_to)] }),
    attachments: attachments.map((file) => ({
      '@odata.type': '#microsoft.graph.fileAttachment',
      name: file.filename,
      contentType: typeSent(file),
      contentBytes: file.content,
    })),
  }
}

const success = (id: string): Outcome => ({ status: 'success', result: { message_id: id } })

const ended = (status: 'failed' | 'unknown', reason: GraphMailReason, message: string): Outcome => ({ status, error: { reason, message } })

const doubt = 'Whether the mail was sent is not known: look among the drafts and the sent mails.'

const lost = (more: string) => ended('unknown', 'MAIL_OUTCOME_LOST', `A crash or an outage here hides whether the mail was sent. ${more}`)

const gone = () =>
  ended(
    'unknown',
    'MAIL_GONE',
    'Neither a draft of the mail nor the sent mail exists: someone may have deleted it. Look in the deleted mails.',
  )
