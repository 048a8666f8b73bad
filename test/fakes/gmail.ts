/**
 * Gmail's drafts, messages and threads, as much as a sender needs, over real HTTP on loopback: strict about what it is sent, and about scopes.
 * Answers can be lost, refused or held back:
 *
 *   const gmail = await startGmail()
 *   gmail.fault = ({ name }) => (name === 'drafts.send' ? { how: 'lost' } : undefined)
 *   gmail.outbox   // every mail that went out
 *
 * https://developers.google.com/workspace/gmail/api/reference/rest
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'

export type GmailMethod = 'drafts.create' | 'drafts.get' | 'drafts.list' | 'drafts.delete' | 'drafts.send' | 'messages.send' | 'threads.get'

export interface GmailRequest {
  name: GmailMethod
  /** How often this method was asked for before. */
  index: number
}

/** `status`: answered so, and nothing is done. `lost`: done, but the connection is cut instead of an answer. `cut`: neither. */
export type GmailFault = { status: number; body?: string; retryAfter?: string } | { how: 'lost' | 'cut' } | { how: 'garbled' }

interface Message {
  id: string
  threadId: string
  labelIds: string[]
  raw: Buffer
}

export interface Gmail {
  readonly url: URL
  /** Scopes by token; empty it and every token is refused. */
  readonly tokens: Map<string, readonly string[]>
  readonly requests: GmailMethod[]
  readonly drafts: ReadonlyMap<string, Message>
  readonly messages: ReadonlyMap<string, Message>
  /** What went out, in order. */
  readonly outbox: readonly Buffer[]
  /** Decides what goes wrong; a promise holds the request back until it settles. */
  fault: (asked: GmailRequest) => GmailFault | undefined | Promise<GmailFault | undefined>
  /** As its owner may: takes a draft away without sending it, or a message for good. */
  forget(id: string): void
  close(): Promise<void>
}

const scope = (name: string) => `https://www.googleapis.com/auth/gmail.${name}`
export const gmailScopes = { full: 'https://mail.google.com/', compose: scope('compose'), metadata: scope('metadata'), send: scope('send') }

const writes = [gmailScopes.full, scope('modify'), gmailScopes.compose]
const allowed: Readonly<Record<GmailMethod, readonly string[]>> = {
  'drafts.create': writes,
  'drafts.delete': writes,
  'drafts.send': writes,
  'drafts.get': [...writes, scope('readonly')],
  'drafts.list': [...writes, scope('readonly')],
  'messages.send': [...writes, gmailScopes.send],
  'threads.get': [gmailScopes.full, scope('modify'), scope('readonly'), gmailScopes.metadata],
}

class GmailError extends Error {
  readonly status: number
  readonly reason: string
  constructor(status: number, reason: string) {
    super(reason)
    this.status = status
    this.reason = reason
  }
}

const newId = () => randomBytes(8).toString('hex')

const routes: readonly [string, RegExp, GmailMethod][] = [
  ['POST', /^\/gmail\/v1\/users\/me\/drafts$/, 'drafts.create'],
  ['GET', /^\/gmail\/v1\/users\/me\/drafts$/, 'drafts.list'],
  ['POST', /^\/gmail\/v1\/users\/me\/drafts\/send$/, 'drafts.send'],
  ['GET', /^\/gmail\/v1\/users\/me\/drafts\/([^/]+)$/, 'drafts.get'],
  ['DELETE', /^\/gmail\/v1\/users\/me\/drafts\/([^/]+)$/, 'drafts.delete'],
  ['POST', /^\/gmail\/v1\/users\/me\/messages\/send$/, 'messages.send'],
  ['GET', /^\/gmail\/v1\/users\/me\/threads\/([^/]+)$/, 'threads.get'],
]

export async function startGmail(): Promise<Gmail> {
  const tokens = new Map<string, readonly string[]>([['good-token', [gmailScopes.compose, gmailScopes.metadata]]])
  const drafts = new Map<string, Message>()
  const messages = new Map<string, Message>()
  const [requests, outbox]: [GmailMethod[], Buffer[]] = [[], []]

  const rawOf = (value: unknown): Buffer => {
    if (typeof value !== 'string' || !/^[\w-]+$/.test(value)) throw new GmailError(400, 'invalidArgument')
    const raw = Buffer.from(value, 'base64url')
    // RFC 5322, 2.3: neither CR nor LF stands alone.
    if (/\r(?!\n)|(?<!\r)\n/.test(raw.toString('latin1'))) throw new GmailError(400, 'invalidArgument')
    if (!/^(?:to|cc|bcc):/im.test(headerPart(raw))) throw new GmailError(400, 'invalidArgument')
    return raw
  }
  const deliver = (raw: Buffer, threadId: string): Message => {
    const message = { id: newId(), threadId, labelIds: ['SENT'], raw }
    messages.set(message.id, message)
    outbox.push(raw)
    return message
  }
  const shown = ({ id, threadId, labelIds, raw }: Message, format: string) => ({
    id,
    threadId,
    labelIds,
    ...(format === 'metadata' && { payload: { headers: headersOf(raw) } }),
  })
  const find = (id: string): Message => {
    const message = drafts.get(id)
    if (message === undefined) throw new GmailError(404, 'notFound')
    return message
  }

  const perform = (name: GmailMethod, id: string, query: URLSearchParams, body: Record<string, unknown>): unknown => {
    const format = query.get('format') ?? 'full'
    switch (name) {
      case 'drafts.create': {
        const message = {
          id: newId(),
          threadId: newId(),
          labelIds: ['DRAFT'],
          raw: rawOf((body['message'] as { raw?: unknown } | undefined)?.raw),
        }
        const draft = `r-${newId()}`
        drafts.set(draft, message)
        return { id: draft, message: shown(message, 'minimal') }
      }
      case 'drafts.get':
        return { id, message: shown(find(id), format) }
      case 'drafts.list': {
        const wanted = /^rfc822msgid:(.+)$/.exec(query.get('q') ?? '')?.[1]
        const found = [...drafts].filter(([, { raw }]) => wanted === undefined || headerPart(raw).includes(`<${wanted}>`))
        return {
          ...(found.length > 0 && { drafts: found.map(([draft, message]) => ({ id: draft, message: shown(message, 'minimal') })) }),
          resultSizeEstimate: found.length,
        }
      }
      case 'drafts.delete':
        find(id)
        drafts.delete(id)
        return undefined
      case 'drafts.send': {
        if (typeof body['id'] !== 'string') throw new GmailError(400, 'invalidArgument')
        const { raw, threadId } = find(body['id'])
        drafts.delete(body['id'])
        return shown(deliver(raw, threadId), 'minimal')
      }
      case 'messages.send':
        return shown(deliver(rawOf(body['raw']), newId()), 'minimal')
      case 'threads.get': {
        const inIt = [...messages.values(), ...drafts.values()].filter(({ threadId }) => threadId === id)
        if (inIt.length === 0) throw new GmailError(404, 'notFound')
        return { id, messages: inIt.map((message) => shown(message, format)) }
      }
    }
  }

  const handle = async (request: http.IncomingMessage, response: http.ServerResponse) => {
    const text = Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>)).toString()
    const url = new URL(request.url!, 'http://gmail.invalid')
    const [, pattern, name] = routes.find(([method, path]) => method === request.method && path.test(url.pathname)) ?? []
    const answer = (status: number, body?: unknown, headers: Record<string, string> = {}) => {
      response.writeHead(status, { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers })
      response.end(typeof body === 'string' || body === undefined ? body : JSON.stringify(body))
    }
    const refuse = ({ status, reason }: GmailError) =>
      answer(status, { error: { code: status, message: `a sentence about ${reason}`, errors: [{ reason, domain: 'global' }] } })
    if (pattern === undefined || name === undefined) return refuse(new GmailError(404, 'notFound'))
    const index = requests.filter((each) => each === name).length
    requests.push(name)
    const fault = await gmail.fault({ name, index })
    if (fault !== undefined && 'status' in fault) {
      return answer(
        fault.status,
        fault.body ?? { error: { errors: [{ reason: 'injected' }] } },
        fault.retryAfter === undefined ? {} : { 'retry-after': fault.retryAfter },
      )
    }
    if (fault?.how === 'cut') return void response.destroy()
    try {
      const granted = tokens.get(/^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '')
      if (granted === undefined) throw new GmailError(401, 'authError')
      if (!allowed[name].some((each) => granted.includes(each))) throw new GmailError(403, 'insufficientPermissions')
      if (request.method === 'POST' && request.headers['content-type'] !== 'application/json') throw new GmailError(400, 'badContent')
      const body = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>)
      const done = perform(name, pattern.exec(url.pathname)![1] ?? '', url.searchParams, body)
      if (fault?.how === 'lost') return void response.destroy()
      if (fault?.how === 'garbled') return answer(200, '{"id": ')
      answer(done === undefined ? 204 : 200, done)
    } catch (error) {
      if (!(error instanceof GmailError)) throw error
      refuse(error)
    }
  }

  const server = http.createServer((request, response) => void handle(request, response).catch(() => response.destroy()))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const gmail: Gmail = {
    url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
    tokens,
    requests,
    drafts,
    messages,
    outbox,
    fault: () => undefined,
    forget(id) {
      drafts.delete(id)
      messages.delete(id)
    },
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
  return gmail
}

const headerPart = (raw: Buffer): string => raw.subarray(0, raw.indexOf('\r\n\r\n')).toString('latin1')

const headersOf = (raw: Buffer) =>
  headerPart(raw)
    .replaceAll(/\r\n[ \t]+/g, ' ')
    .split('\r\n')
    .map((line) => ({ name: line.slice(0, line.indexOf(':')), value: line.slice(line.indexOf(':') + 1).trim() }))
