/** Microsoft Graph's mail and calendar as far as one message is sent and one event is made, stricter than the real one. */
import { randomUUID } from 'node:crypto'
import { type Call, type ProviderApi, type Reply, type Route, startProviderApi, unknownNames } from './provider-api.ts'

export interface GraphMessage {
  id: string
  isDraft: boolean
  subject: string
  body: { contentType: string; content: string }
  toRecipients: GraphRecipient[]
  ccRecipients?: GraphRecipient[]
  bccRecipients?: GraphRecipient[]
  replyTo?: GraphRecipient[]
  attachments?: Record<string, unknown>[]
  singleValueExtendedProperties?: GraphProperty[]
}

export interface GraphEvent {
  id: string
  subject: string
  body?: { contentType: string; content: string }
  location?: { displayName: string }
  start: { dateTime: string; timeZone: string }
  end: { dateTime: string; timeZone: string }
  isAllDay?: boolean
  attendees?: (GraphRecipient & { type: string })[]
  transactionId?: string
  singleValueExtendedProperties?: GraphProperty[]
  webLink: string
}

export interface GraphRecipient {
  emailAddress: { address: string; name?: string }
}

interface GraphProperty {
  id: string
  value: string
}

export interface Graph extends ProviderApi {
  readonly messages: Map<string, GraphMessage>
  readonly events: Map<string, GraphEvent>
  /** Subjects, as often as a mail of it went out. */
  readonly sent: string[]
  readonly invitations: string[]
}

const problem = (status: number, code: string) => ({ error: { code, message: `Refused with ${status}: ${code}` } })
const refuse = (status: number, code: string): Reply => ({ status, body: problem(status, code) })

const writable = [
  'subject',
  'body',
  'toRecipients',
  'ccRecipients',
  'bccRecipients',
  'replyTo',
  'attachments',
  'singleValueExtendedProperties',
]

export async function startGraph(options: { tokens?: readonly string[] } = {}): Promise<Graph> {
  const messages = new Map<string, GraphMessage>()
  const events = new Map<string, GraphEvent>()
  const sent: string[] = []
  const invitations: string[] = []

  const create = ({ body, headers }: Call): Reply => {
    const unknown = unknownNames(body, writable)
    if (unknown.length > 0) return refuse(400, `UnknownProperty ${unknown.join()}`)
    const message: GraphMessage = { ...(body as GraphMessage), id: newId(headers), isDraft: true }
    messages.set(message.id, message)
    return { status: 201, body: message }
  }
  const send = (id: string): Reply => {
    const message = messages.get(id)
    if (message === undefined) return refuse(404, 'ErrorItemNotFound')
    if (!message.isDraft) return refuse(400, 'ErrorInvalidOperation')
    if (recipientsOf(message).length === 0) return refuse(400, 'ErrorInvalidRecipients')
    sent.push(message.subject)
    // An id that is not immutable changes with the folder.
    messages.delete(id)
    const after = { ...message, isDraft: false, id: id.startsWith('immutable-') ? id : `${id}-moved` }
    messages.set(after.id, after)
    return { status: 202 }
  }
  const sendMail = ({ body }: Call): Reply => {
    const { message, ...rest } = body as { message: GraphMessage }
    const unknown = [...unknownNames(message, writable), ...unknownNames(rest, ['saveToSentItems'])]
    if (unknown.length > 0) return refuse(400, `UnknownProperty ${unknown.join()}`)
    sent.push(message.subject)
    const id = `immutable-${randomUUID()}`
    messages.set(id, { ...message, id, isDraft: false })
    return { status: 202 }
  }
  const patch = (id: string, body: unknown): Reply => {
    const message = messages.get(id)
    if (message === undefined) return refuse(404, 'ErrorItemNotFound')
    if (!message.isDraft) return refuse(400, 'ErrorInvalidPropertySet')
    if (unknownNames(body, writable).length > 0) return refuse(400, 'UnknownProperty')
    Object.assign(message, body)
    return { status: 200, body: message }
  }
  const addEvent = ({ body, headers }: Call): Reply => {
    const known = ['subject', 'body', 'location', 'start', 'end', 'isAllDay', 'attendees', 'transactionId', 'singleValueExtendedProperties']
    const unknown = unknownNames(body, known)
    if (unknown.length > 0) return refuse(400, `UnknownProperty ${unknown.join()}`)
    const event = body as GraphEvent
    if (![event.start, event.end].every((time) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$/.test(time.dateTime) && time.timeZone !== ''))
      return refuse(400, 'ErrorInvalidRequest')
    if (event.isAllDay && ![event.start, event.end].every((time) => time.dateTime.endsWith('T00:00:00')))
      return refuse(400, 'ErrorInvalidRequest')
    const same = [...events.values()].find(({ transactionId }) => transactionId !== undefined && transactionId === event.transactionId)
    if (same !== undefined) return { status: 201, body: same }
    invitations.push(...(event.attendees ?? []).map(({ emailAddress }) => emailAddress.address))
    const id = newId(headers)
    const made = { ...event, id, webLink: `https://outlook.office365.com/owa/?itemid=${id}` }
    events.set(id, made)
    return { status: 201, body: made }
  }

  const route = (name: string, method: string, path: string, handle: Route['handle']): Route => ({
    name,
    method,
    path: new RegExp(`^/v1\\.0/me/${path}$`),
    handle,
  })
  const api = await startProviderApi({
    ...options,
    problem,
    routes: [
      route('create', 'POST', 'messages', create),
      route('find', 'GET', 'messages', ({ query }) => list(messages, query)),
      route('get', 'GET', 'messages/([^/]+)', (_call, id = '') =>
        messages.has(id) ? { status: 200, body: messages.get(id) } : refuse(404, 'ErrorItemNotFound'),
      ),
      route('patch', 'PATCH', 'messages/([^/]+)', ({ body }, id = '') => patch(id, body)),
      route('delete', 'DELETE', 'messages/([^/]+)', (_call, id = '') =>
        messages.delete(id) ? { status: 204 } : refuse(404, 'ErrorItemNotFound'),
      ),
      route('send', 'POST', 'messages/([^/]+)/send', (_call, id = '') => send(id)),
      route('sendMail', 'POST', 'sendMail', sendMail),
      route('addEvent', 'POST', 'events', addEvent),
      route('findEvent', 'GET', 'events', ({ query }) => list(events, query)),
    ],
  })
  return Object.assign(api, { messages, events, sent, invitations })
}

const newId = ({ prefer }: Call['headers']) => `${prefer === 'IdType="ImmutableId"' ? 'immutable' : 'mutable'}-${randomUUID()}`

export const recipientsOf = ({ toRecipients, ccRecipients = [], bccRecipients = [] }: GraphMessage): GraphRecipient[] => [
  ...toRecipients,
  ...ccRecipients,
  ...bccRecipients,
]

/** By one extended property, as that is all that is asked for. */
function list(items: Map<string, GraphMessage | GraphEvent>, query: URLSearchParams): Reply {
  const filter = /^singleValueExtendedProperties\/Any\(ep: ep\/id eq '([^']+)' and ep\/value eq '([^']+)'\)$/.exec(
    query.get('$filter') ?? '',
  )
  if (filter === null) return refuse(400, 'ErrorInvalidUrlQueryFilter')
  const [, id, value] = filter
  const found = [...items.values()].filter((item) =>
    item.singleValueExtendedProperties?.some((each) => each.id === id && each.value === value),
  )
  return { status: 200, body: { value: found } }
}
