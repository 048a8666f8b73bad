/** Slack in the sandbox: one workspace with two channels, as far as `slack.post_message` uses it, and as strict as the original. */
import { type SandboxRequest, type SandboxResponse, json, objectOf } from '../../deploy/sandbox/http.ts'
import type { Holder, Post, SandboxApi, SandboxFacet } from '../sandbox.ts'

export const channels = ['C0GENERAL1', 'C0RANDOM01'] as const
const team = { id: 'T0EXAMPLE1', name: 'Example' }

interface Message {
  channel: string
  ts: string
  text: string
  thread_ts?: string | undefined
  metadata?: unknown
  account: string
}

const refused = (error: string): SandboxResponse => json(200, { ok: false, error })
const known = new Set(['channel', 'text', 'mrkdwn', 'unfurl_links', 'unfurl_media', 'thread_ts', 'metadata'])

class Workspace implements SandboxApi {
  readonly #messages: Message[] = []
  #lastMs = 0
  #count = 0

  answer(request: SandboxRequest, path: string, { email, scopes }: Holder): SandboxResponse {
    const needs = (scope: string, act: () => SandboxResponse) => (scopes.includes(scope) ? act() : refused('missing_scope'))
    switch (`${request.method} ${path}`) {
      case 'GET /api/auth.test':
        return json(200, { ok: true, user: 'relay', team: team.name, user_id: 'U0RELAY001', team_id: team.id })
      case 'POST /api/chat.postMessage':
        return needs('chat:write', () => this.#post(request, email))
      case 'GET /api/conversations.history':
        return needs('channels:history', () => this.#history(request.url.searchParams, undefined))
      case 'GET /api/conversations.replies':
        return needs('channels:history', () => this.#history(request.url.searchParams, request.url.searchParams.get('ts') ?? ''))
      default:
        return refused('unknown_method')
    }
  }

  #post(request: SandboxRequest, account: string): SandboxResponse {
    const body = objectOf(request)
    if (body === undefined || Object.keys(body).some((name) => !known.has(name))) return refused('invalid_arguments')
    const { channel, text, thread_ts, metadata } = body
    if (typeof channel !== 'string' || !channels.some((each) => each === channel)) return refused('channel_not_found')
    if (typeof text !== 'string' || text === '') return refused('no_text')
    if (thread_ts !== undefined && !this.#messages.some((each) => each.ts === thread_ts)) return refused('thread_not_found')
    const message: Message = { channel, ts: this.#now(), text, thread_ts: thread_ts as string | undefined, metadata, account }
    this.#messages.push(message)
    return json(200, { ok: true, channel, ts: message.ts, message: { type: 'message', text, ts: message.ts } })
  }

  #history(query: URLSearchParams, thread: string | undefined): SandboxResponse {
    const channel = query.get('channel') ?? ''
    if (!channels.some((each) => each === channel)) return refused('channel_not_found')
    const withMetadata = query.get('include_all_metadata') === 'true'
    const messages = this.#messages
      .filter((each) => each.channel === channel && each.thread_ts === thread && Number(each.ts) > Number(query.get('oldest') ?? '0'))
      .toReversed()
      .map(({ ts, text, metadata }) => ({ type: 'message', ts, text, ...(withMetadata && metadata !== undefined && { metadata }) }))
    return json(200, { ok: true, messages, has_more: false, response_metadata: { next_cursor: '' } })
  }

  /** Seconds and six digits, each later than the one before. */
  #now(): string {
    const ms = Date.now()
    this.#count = ms === this.#lastMs ? this.#count + 1 : 0
    this.#lastMs = ms
    return `${Math.floor(ms / 1000)}.${String((ms % 1000) * 1000 + this.#count).padStart(6, '0')}`
  }

  list(): Post[] {
    return this.#messages.map(({ channel, ts, text, thread_ts, account }) => ({
      provider: 'slack',
      account,
      id: ts,
      title: `Message in ${channel}`,
      content: { channel, text, ...(thread_ts !== undefined && { thread_ts }) },
      created_at: new Date(Number(ts) * 1000).toISOString(),
    }))
  }
}

export const sandbox: SandboxFacet = {
  path: '/slack',
  accounts: [{ email: 'relay@example.slack.example.com', name: 'Example' }],
  authorizePath: '/oauth/v2/authorize',
  tokenPath: '/api/oauth.v2.access',
  tokenResponse: ({ accessToken, scopes }) => ({ ok: true, access_token: accessToken, token_type: 'bot', scope: scopes.join(','), team }),
  tokenError: (error) => refused(error === 'invalid_client' ? 'bad_client_secret' : error === 'invalid_grant' ? 'invalid_code' : error),
  error: (status, code) => (status === 401 ? refused('invalid_auth') : json(status, { ok: false, error: code })),
  open: () => new Workspace(),
}
