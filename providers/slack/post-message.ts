/**
 * `slack.post_message`: https://docs.slack.dev/reference/methods/chat.postMessage
 *
 * Slack has no idempotency key. The message carries the run's id as metadata, which people do not see, and by which it is found in the
 * channel's history. The text is posted as it is: nothing in it is markup, and it notifies no one.
 */
import { z } from 'zod'
import type { Adapter } from '../../services/actions/adapter.ts'
import { type OnceOptions, beginningOf, onceAdapter } from '../../services/actions/adapters/once.ts'
import { plainText } from '../../services/actions/adapters/plain-text.ts'
import { ApiFailure, type ApiCall } from '../../services/actions/adapters/provider-http.ts'
import { readSlackError, readSlackRefusal } from './errors.ts'

/** A message's place in its channel: seconds and a count. */
const timestamp = /^\d{1,12}\.\d{1,6}$/

const params = z.strictObject({
  channel: z
    .string()
    .regex(/^[CG][A-Z0-9]{8,20}$/, 'must be the id of a channel, such as C024BE91L: Slack shows it in the details of the channel')
    .describe('The id of a channel that the Relay app was added to.'),
  // Slack cuts longer texts.
  text: plainText(4000)
    .refine((text) => text.trim() !== '', 'is empty')
    .describe('The message, as plain text.'),
  thread_ts: z
    .string()
    .regex(timestamp, 'must be the timestamp of a message, such as 1503435956.000247')
    .optional()
    .describe('The timestamp of the message to reply to, in its thread.'),
})
type Message = z.output<typeof params>

const eventType = 'relay_run'
const posted = z.object({ channel: z.string().max(64), ts: z.string().regex(timestamp) })
const history = z.object({
  messages: z.array(
    z.object({
      ts: z.string().regex(timestamp),
      metadata: z
        .object({ event_type: z.string(), event_payload: z.record(z.string(), z.unknown()) })
        .optional()
        .catch(undefined),
    }),
  ),
  response_metadata: z
    .object({ next_cursor: z.string().max(1024).optional() })
    .optional()
    .catch(undefined),
})

/** A run's message is among the latest: in a channel with more messages since then, it is unknown. */
const maxPages = 5
/** The maximum difference of clocks. */
const beforeMs = 60_000

/** `baseUrl` is SLACK_API_URL. */
export const slackMessageAction = (options: OnceOptions): Adapter<Message> =>
  onceAdapter(options, {
    action: 'slack.post_message',
    requires: { provider: 'slack', scopes: ['chat:write', 'channels:history', 'groups:history'] },
    readError: readSlackError,
    readRefusal: readSlackRefusal,
    description: 'Posts a message to a Slack channel, as the Relay app of the connected workspace.',
    guarantee:
      'Posted at most once per run: after a lost response Relay looks for the message in the channel by the metadata that it carries, and never posts it again. Where the history cannot be read, the outcome is unknown.',
    params,
    words: { thing: 'message', made: 'posted', place: 'in the channel' },
    reasons: { notMade: 'MESSAGE_NOT_POSTED', lost: 'MESSAGE_OUTCOME_LOST' },
    brief: ({ text }) => beginningOf(text),

    async preview(message, { connection }) {
      const where = message.thread_ts === undefined ? `to ${message.channel}` : `as a reply in ${message.channel}`
      const as = connection === undefined ? 'the Relay app' : connection.account
      return { params: { ...message }, summary: `Post ${where} as ${as}: ${message.text}`, warnings: [] }
    },

    async create({ channel, text, thread_ts }, run, api, point) {
      const json = {
        channel,
        text: escaped(text),
        mrkdwn: false,
        unfurl_links: false,
        unfurl_media: false,
        ...(thread_ts !== undefined && { thread_ts }),
        metadata: { event_type: eventType, event_payload: { run_id: run.runId } },
      }
      const { json: answered } = await api.call(run, { method: 'POST', path: '/chat.postMessage', json, effect: true, point })
      const { ts, channel: where } = read(posted, answered)
      return { channel: where, ts }
    },

    async find({ channel, thread_ts }, run, api) {
      const askedAt = run.recovery?.asked_at
      const oldest = typeof askedAt === 'number' ? String((askedAt - beforeMs) / 1000) : '0'
      const query = { channel, oldest, include_all_metadata: 'true', limit: '200', ...(thread_ts !== undefined && { ts: thread_ts }) }
      const path = thread_ts === undefined ? '/conversations.history' : '/conversations.replies'
      let cursor = ''
      for (let page = 0; page < maxPages; page += 1) {
        const call: ApiCall = { method: 'GET', path, query: { ...query, ...(cursor !== '' && { cursor }) } }
        const { messages, response_metadata } = read(history, (await api.call(run, call)).json)
        const found = messages.find(({ metadata }) => metadata?.event_type === eventType && metadata.event_payload.run_id === run.runId)
        if (found !== undefined) return { channel, ts: found.ts }
        cursor = response_metadata?.next_cursor ?? ''
        if (cursor === '') return undefined
      }
      throw new ApiFailure('unclear', 'PROVIDER_GARBLED', 'slack has more messages since then than are looked through.')
    },
  })

/** https://docs.slack.dev/messaging/formatting-message-text#escaping */
const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

function read<T>(schema: z.ZodType<T>, json: unknown): T {
  const parsed = schema.safeParse(json)
  if (!parsed.success) throw new ApiFailure('unclear', 'PROVIDER_GARBLED', 'slack answered with something that is not a message.')
  return parsed.data
}
