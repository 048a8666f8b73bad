/** Everything that was "sent". Nothing leaves the sandbox, so mails and events are shown here. */
import { escapeHtml, html, json, type SandboxResponse } from './http.ts'
import type { Post } from '#providers/sandbox.ts'
import type { OwnProvider } from './own-providers.ts'
import { accounts, type Emulators } from './emulators.ts'
import type { GoogleCalendar } from '../../providers/google/sandbox/calendar.ts'
import type { Graph } from '../../providers/microsoft/sandbox/graph.ts'

export interface Mail {
  provider: 'google' | 'microsoft'
  /** The account that sent it. */
  account: string
  id: string
  /** The header of that name, as its composer chose it. */
  message_id: string
  from: string
  to: string
  cc: string
  bcc: string
  subject: string
  text: string
  attachments: string[]
  sent_at: string
}

export interface Event {
  provider: 'google' | 'microsoft'
  account: string
  id: string
  title: string
  event: Record<string, unknown>
  created_at: string
}

interface Part {
  mimeType?: string
  filename?: string
  headers?: { name: string; value: string }[]
  body?: { data?: string }
  parts?: Part[]
}

interface GmailMessage {
  id: string
  internalDate: string
  payload: Part
}

interface GmailPage {
  messages: { id: string }[]
  nextPageToken?: string
}

/** The bytes of an encoded word: base64, or a kind of quoted-printable (RFC 2047, 4). */
function bytesOf(encoding: string, text: string): Buffer {
  if (encoding.toUpperCase() === 'B') return Buffer.from(text, 'base64')
  const codes = /=([0-9A-F]{2})/gi
  return Buffer.from(
    text.replaceAll('_', ' ').replace(codes, (_, hex: string) => String.fromCodePoint(Number.parseInt(hex, 16))),
    'latin1',
  )
}

/** The text of a header with encoded words, if they are UTF-8. */
export function decodeWords(header: string): string {
  const joined = header.replace(/(=\?[^?]+\?[BQ]\?[^?]*\?=)\s+(?==\?)/gi, '$1')
  // A character may be cut between two words: join the bytes first.
  return joined.replace(/(?:=\?utf-8\?[BQ]\?[^?]*\?=)+/gi, (words) => {
    const each = [...words.matchAll(/=\?utf-8\?([BQ])\?([^?]*)\?=/gi)]
    return Buffer.concat(each.map(([, encoding, text]) => bytesOf(encoding!, text!))).toString('utf8')
  })
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '')

const flat = (part: Part): Part[] => [part, ...(part.parts ?? []).flatMap(flat)]

function mailOf(account: string, { id, internalDate, payload }: GmailMessage): Mail {
  const header = (name: string): string => decodeWords(payload.headers?.find((each) => each.name.toLowerCase() === name)?.value ?? '')
  const parts = flat(payload)
  const body = (type: string): Part | undefined => parts.find((part) => part.mimeType === type && (part.filename ?? '') === '')
  const text = body('text/plain') ?? body('text/html')
  return {
    provider: 'google',
    account,
    id,
    message_id: header('message-id'),
    from: header('from'),
    to: header('to'),
    cc: header('cc'),
    bcc: header('bcc'),
    subject: header('subject'),
    text: Buffer.from(text?.body?.data ?? '', 'base64url').toString('utf8'),
    attachments: parts.map(({ filename }) => decodeWords(filename ?? '')).filter((name) => name !== ''),
    sent_at: new Date(Number(internalDate)).toISOString(),
  }
}

/** A sent mail does not change, so each is fetched once. */
const fetched = new WeakMap<Emulators, Map<string, Mail>>()

async function ofGmail(emulators: Emulators, email: string): Promise<Mail[]> {
  const known = fetched.get(emulators) ?? new Map<string, Mail>()
  fetched.set(emulators, known)
  const ask = async (path: string): Promise<unknown> => {
    const asked = { method: 'GET', url: new URL(path, 'http://gmail'), headers: {}, body: Buffer.alloc(0) }
    return JSON.parse((await emulators.ask('google', asked, email)).body.toString())
  }
  const mails: Mail[] = []
  for (let page = ''; ;) {
    const list = (await ask(`/gmail/v1/users/me/messages?labelIds=SENT&maxResults=500${page}`)) as GmailPage
    for (const { id } of list.messages) {
      const mail = known.get(id) ?? mailOf(email, (await ask(`/gmail/v1/users/me/messages/${id}?format=full`)) as GmailMessage)
      known.set(id, mail)
      mails.push(mail)
    }
    if (list.nextPageToken === undefined) return mails
    page = `&pageToken=${list.nextPageToken}`
  }
}

const listOf = <T>(value: unknown): T[] => (Array.isArray(value) ? (value as T[]) : [])
const addresses = (value: unknown): string =>
  listOf<{ emailAddress?: { address?: string } }>(value)
    .map((each) => each.emailAddress?.address ?? '')
    .join(', ')

function ofGraph(graph: Graph): Mail[] {
  return graph.sent().map(({ email, immutableId, sentAt = '', resource }) => ({
    provider: 'microsoft',
    account: email,
    id: immutableId,
    message_id: textOf(resource.internetMessageId),
    from: email,
    to: addresses(resource.toRecipients),
    cc: addresses(resource.ccRecipients),
    bcc: addresses(resource.bccRecipients),
    subject: textOf(resource.subject),
    text: textOf((resource.body as { content?: unknown } | undefined)?.content),
    attachments: listOf<{ name?: string }>(resource.attachments).map(({ name = '' }) => name),
    sent_at: sentAt,
  }))
}

export interface ReceivedCall {
  emulators: Emulators
  calendar: GoogleCalendar
  graph: Graph
  /** Those of other providers. */
  own: readonly OwnProvider[]
}

export interface Inbox {
  mails: Mail[]
  events: Event[]
  posts: Post[]
}

/** Everything that was sent or created since the sandbox started, oldest first. */
export async function inboxOf({ emulators, calendar, graph, own }: ReceivedCall): Promise<Inbox> {
  const gmail = await Promise.all(accounts.google.map(({ email }) => ofGmail(emulators, email)))
  const mails = [...gmail.flat(), ...ofGraph(graph)].sort((a, b) => a.sent_at.localeCompare(b.sent_at))
  const google = calendar.list().map(({ email, id, createdAt, resource }): Event => ({
    provider: 'google',
    account: email,
    id,
    title: textOf(resource.summary),
    event: resource,
    created_at: createdAt,
  }))
  const microsoft = graph.events().map(({ email, id, createdAt, resource }): Event => ({
    provider: 'microsoft',
    account: email,
    id,
    title: textOf(resource.subject),
    event: resource,
    created_at: createdAt,
  }))
  const posts = own.flatMap(({ api }) => api.list())
  const inOrder = <T extends { created_at: string }>(all: T[]) => all.sort((a, b) => a.created_at.localeCompare(b.created_at))
  return { mails, events: inOrder([...google, ...microsoft]), posts: inOrder(posts) }
}

/** As JSON, or as a page for a browser. */
export function inboxAnswer(inbox: Inbox, accept: string): SandboxResponse {
  if (!accept.includes('text/html')) return json(200, inbox, { 'cache-control': 'no-store' })
  const line = (name: string, value: string): string => (value === '' ? '' : `<dt>${name}</dt><dd>${escapeHtml(value)}</dd>`)
  const mails = inbox.mails.toReversed().map(
    ({ subject, from, to, cc, bcc, attachments, sent_at, provider, text }) => `<article><h2>${escapeHtml(subject)}</h2><dl>
${line('From', from)}${line('To', to)}${line('Cc', cc)}${line('Bcc', bcc)}${line('Attachments', attachments.join(', '))}
${line('Sent', `${sent_at} (${provider})`)}</dl><pre>${escapeHtml(text)}</pre></article>`,
  )
  const events = inbox.events
    .toReversed()
    .map((each) => `<article><h2>${escapeHtml(each.title)}</h2><pre>${escapeHtml(JSON.stringify(each.event, null, 2))}</pre></article>`)
  const posts = inbox.posts
    .toReversed()
    .map(
      (each) =>
        `<article><h2>${escapeHtml(`${each.title} (${each.provider})`)}</h2><pre>${escapeHtml(JSON.stringify(each.content, null, 2))}</pre></article>`,
    )
  const none = '<p>Nothing yet.</p>'
  return html(
    200,
    `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sandbox inbox</title><style>
body{font:16px/1.5 system-ui;max-width:48rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
article{border:1px solid #ccc;border-radius:8px;padding:0 1rem;margin:1rem 0}h2{font-size:1.1rem}
dl{display:grid;grid-template-columns:7rem 1fr}dd{margin:0}pre{white-space:pre-wrap;overflow-wrap:anywhere}</style></head>
<body><h1>What the sandbox was asked to send</h1><p>None of it has left this machine.</p>
<h2>Mails (${inbox.mails.length})</h2>${mails.join('') || none}
<h2>Events (${inbox.events.length})</h2>${events.join('') || none}
<h2>Posts (${inbox.posts.length})</h2>${posts.join('') || none}</body></html>`,
  )
}
