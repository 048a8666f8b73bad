/**
 * Microsoft Graph's mail and calendar, as far as Relay uses them; `emulate` has neither.
 * https://learn.microsoft.com/graph/api/resources/message, …/event; ids: https://learn.microsoft.com/graph/outlook-immutable-id
 */
import { randomBytes } from 'node:crypto'
import { apiError, empty, json, objectOf, type SandboxResponse, type SandboxRequest } from '../../../deploy/sandbox/http.ts'

export interface GraphMessage {
  email: string
  /** Immutable; the other id changes when the message moves, as it does when it is sent. */
  immutableId: string
  id: string
  isDraft: boolean
  sentAt: string | undefined
  resource: Record<string, unknown>
}

export interface GraphEvent {
  email: string
  id: string
  createdAt: string
  resource: Record<string, unknown>
}

const newId = (): string => `AAMk${randomBytes(36).toString('base64url')}=`
const notFound = (): SandboxResponse => apiError('graph', 404, 'ErrorItemNotFound', 'The specified object was not found in the store.')
const badRequest = (message: string): SandboxResponse => apiError('graph', 400, 'ErrorInvalidRequest', message)

const wantsImmutable = ({ headers }: SandboxRequest): boolean => /\bIdType="ImmutableId"/.test(String(headers.prefer ?? ''))

/** The only supported filter: https://learn.microsoft.com/graph/api/singlevaluelegacyextendedproperty-get */
const byProperty = /^singleValueExtendedProperties\/Any\(ep: ep\/id eq '([^']*)' and ep\/value eq '([^']*)'\)$/

/** The items that a $filter selects; undefined if it is not supported. */
function filtered<T extends { resource: Record<string, unknown> }>(items: T[], filter: string | null): T[] | undefined {
  if (filter === null) return items
  const [, id, value] = byProperty.exec(filter) ?? []
  if (id === undefined) return undefined
  return items.filter(({ resource: { singleValueExtendedProperties: properties } }) => {
    const all = Array.isArray(properties) ? (properties as { id?: unknown; value?: unknown }[]) : []
    return all.some((each) => each.id === id && each.value === value)
  })
}

export class Graph {
  readonly #messages = new Set<GraphMessage>()
  readonly #events = new Set<GraphEvent>()

  sent(): GraphMessage[] {
    return [...this.#messages].filter(({ isDraft }) => !isDraft)
  }

  events(): GraphEvent[] {
    return [...this.#events]
  }

  /** The response to requests about mail or the calendar; undefined for all others. */
  answer(asked: SandboxRequest, email: string): SandboxResponse | undefined {
    const [area, id, verb, ...rest] = asked.url.pathname
      .replace(/^\/v1\.0\/me\//, '')
      .split('/')
      .map(decodeURIComponent)
    if (area === 'mailFolders' && verb === 'messages' && rest.length === 0) return this.#listMessages(asked, email, id ?? '')
    if (rest.length > 0) return undefined
    const call = `${asked.method} ${area}${id === undefined ? '' : '/{id}'}${verb === undefined ? '' : `/${verb}`}`
    switch (call) {
      case 'POST sendMail':
        return this.#sendMail(asked, email)
      case 'POST messages':
        return this.#createMessage(asked, email)
      case 'GET messages':
        return this.#listMessages(asked, email)
      case 'GET messages/{id}':
      case 'PATCH messages/{id}':
      case 'DELETE messages/{id}':
      case 'POST messages/{id}/send':
      case 'POST messages/{id}/attachments':
        return this.#onMessage(asked, email, id!, verb)
      case 'POST events':
        return this.#createEvent(asked, email)
      case 'GET events':
        return this.#listEvents(asked, email)
      case 'GET events/{id}':
      case 'DELETE events/{id}':
        return this.#onEvent(asked, email, id!)
      default:
        return undefined
    }
  }

  #add(email: string, body: Record<string, unknown>, isDraft: boolean): GraphMessage {
    const at = new Date().toISOString()
    const from = { emailAddress: { address: email, name: 'You' } }
    const internetMessageId = `<${randomBytes(12).toString('hex')}@outlook.example.com>`
    const resource = { internetMessageId, ...body, createdDateTime: at, from, sender: from, conversationId: newId() }
    const message = { email, immutableId: newId(), id: newId(), isDraft, sentAt: isDraft ? undefined : at, resource }
    this.#messages.add(message)
    return message
  }

  #shown(message: GraphMessage, asked: SandboxRequest): object {
    const { isDraft, sentAt, resource } = message
    const id = wantsImmutable(asked) ? message.immutableId : message.id
    const parentFolderId = isDraft ? 'drafts' : 'sentitems'
    return { ...resource, id, isDraft, parentFolderId, ...(sentAt !== undefined && { sentDateTime: sentAt }) }
  }

  #createMessage(asked: SandboxRequest, email: string): SandboxResponse {
    const body = objectOf(asked)
    return body === undefined ? badRequest('The body is not a message.') : json(201, this.#shown(this.#add(email, body, true), asked))
  }

  #sendMail(asked: SandboxRequest, email: string): SandboxResponse {
    const message = objectOf(asked)?.message
    if (typeof message !== 'object' || message === null) return badRequest('The body has no message.')
    this.#add(email, message as Record<string, unknown>, false)
    return empty(202)
  }

  #onMessage(asked: SandboxRequest, email: string, id: string, verb: string | undefined): SandboxResponse {
    const found = [...this.#messages].find((each) => each.email === email && (each.id === id || each.immutableId === id))
    if (found === undefined) return notFound()
    if (asked.method === 'GET') return json(200, this.#shown(found, asked))
    if (asked.method === 'DELETE') {
      this.#messages.delete(found)
      return empty(204)
    }
    if (asked.method === 'PATCH') {
      const body = objectOf(asked)
      if (body === undefined) return badRequest('The body is not a message.')
      const fixed = ['toRecipients', 'ccRecipients', 'bccRecipients', 'subject', 'body'].filter((name) => name in body)
      if (!found.isDraft && fixed.length > 0) return badRequest('These can be changed in a draft alone.')
      found.resource = { ...found.resource, ...body }
      return json(200, this.#shown(found, asked))
    }
    if (verb === 'attachments') {
      const body = objectOf(asked)
      if (body === undefined) return badRequest('The body is not an attachment.')
      const before = Array.isArray(found.resource.attachments) ? (found.resource.attachments as unknown[]) : []
      found.resource.attachments = [...before, body]
      return json(201, { ...body, id: newId() })
    }
    if (!found.isDraft) return badRequest('The message has been sent.')
    const { toRecipients, ccRecipients, bccRecipients } = found.resource
    const recipients = [toRecipients, ccRecipients, bccRecipients].flatMap((each) => (Array.isArray(each) ? (each as unknown[]) : []))
    if (recipients.length === 0) return apiError('graph', 400, 'ErrorInvalidRecipients', 'At least one recipient is not valid.')
    Object.assign(found, { isDraft: false, sentAt: new Date().toISOString(), id: newId() })
    return empty(202)
  }

  #listMessages(asked: SandboxRequest, email: string, folder?: string): SandboxResponse {
    const inFolder = (message: GraphMessage): boolean => folder === undefined || message.isDraft === (folder.toLowerCase() === 'drafts')
    const own = [...this.#messages].filter((each) => each.email === email && inFolder(each))
    const found = filtered(own, asked.url.searchParams.get('$filter'))
    if (found === undefined) return badRequest('The filter is not understood.')
    return json(200, { value: found.map((each) => this.#shown(each, asked)) })
  }

  #createEvent(asked: SandboxRequest, email: string): SandboxResponse {
    const body = objectOf(asked)
    if (body?.start === undefined || body.end === undefined) return badRequest('An event needs a start and an end.')
    const { transactionId } = body
    const isTwin = (each: GraphEvent): boolean => each.email === email && each.resource.transactionId === transactionId
    // The second of two requests with one transaction id creates nothing.
    const isUsed = transactionId !== undefined && this.events().some(isTwin)
    if (isUsed) return apiError('graph', 409, 'ErrorDuplicateTransactionId', 'The transaction id has been used before.')
    const [id, createdAt] = [newId(), new Date().toISOString()]
    const organizer = { emailAddress: { address: email, name: 'You' } }
    const webLink = `${asked.url.origin}/sandbox/inbox`
    const resource = { ...body, id, iCalUId: newId(), createdDateTime: createdAt, isCancelled: false, organizer, webLink }
    this.#events.add({ email, id, createdAt, resource })
    return json(201, resource)
  }

  #listEvents(asked: SandboxRequest, email: string): SandboxResponse {
    const own = this.events().filter((each) => each.email === email)
    const found = filtered(own, asked.url.searchParams.get('$filter'))
    if (found === undefined) return badRequest('The filter is not understood.')
    return json(200, { value: found.map(({ resource }) => resource) })
  }

  #onEvent(asked: SandboxRequest, email: string, id: string): SandboxResponse {
    const found = [...this.#events].find((each) => each.email === email && each.id === id)
    if (found === undefined) return notFound()
    if (asked.method === 'GET') return json(200, found.resource)
    this.#events.delete(found)
    return empty(204)
  }
}
