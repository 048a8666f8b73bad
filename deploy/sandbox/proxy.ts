/**
 * The only entry point of the sandbox, on loopback. It checks requests as strictly as the real providers do, then `emulate` answers, or the
 * fakes for what `emulate` lacks. /sandbox/faults injects faults; /sandbox/inbox shows what was sent.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { z } from 'zod'
import { apiError, empty, json, objectOf, type SandboxResponse, type Api, type SandboxRequest } from './http.ts'
import { Authorization, bearerOf } from './authorization.ts'
import type { SandboxFacet } from '#providers/sandbox.ts'
import { type OwnProvider, accountsOf, answerAsOwnProvider, openOwn, ownOf } from './own-providers.ts'
import { startEmulators, type Client, type Emulated } from './emulators.ts'
import { Faults, faultSchema, type Fault } from './faults.ts'
import { searchDrafts } from '../../providers/google/sandbox/gmail-drafts.ts'
import { GoogleCalendar } from '../../providers/google/sandbox/calendar.ts'
import { Graph } from '../../providers/microsoft/sandbox/graph.ts'
import { inboxAnswer, inboxOf, type ReceivedCall } from './inbox.ts'
import { refusalOf } from './scopes.ts'
import { IssuedTokens, type StoredTokens, type Provider } from './tokens.ts'
import { ConsentError, giveConsent } from './headless-consent.ts'

export interface SandboxProxyOptions {
  /** On loopback only. 0 is any free port. */
  port?: number | undefined
  /** The providers to serve, of those that are not emulated. */
  clients: Readonly<Record<Emulated, Client> & Partial<Record<Provider, Client>>>
  accessTtlMs: number
  /** The tokens of an earlier start, and where to store them from now on. */
  kept?: StoredTokens | undefined
  keep?: ((tokens: StoredTokens) => void) | undefined
  now?: (() => number) | undefined
  /** Called with method, path and status of each call; never with a query or a body. */
  onCall?: ((call: { method: string; path: string; status: number; fault: string | undefined }) => void) | undefined
  /** Called with errors of the sandbox itself. */
  onError?: ((error: unknown) => void) | undefined
}

export interface SandboxProxy {
  readonly url: string
  readonly port: number
  stop(): Promise<void>
}

/** A mail with its attachments, base64 twice, and a margin. */
const bodyLimit = 64 << 20

async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > bodyLimit) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

export async function startSandbox(options: SandboxProxyOptions): Promise<SandboxProxy> {
  const tokens = new IssuedTokens(options.kept, options.keep, options.now)
  const faults = new Faults()
  let serve: ((asked: SandboxRequest) => Promise<SandboxResponse>) | undefined
  let opened: readonly OwnProvider[] = []

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = URL.parse(request.url ?? '/', origin)
    const method = request.method ?? ''
    // A foreign name that points here belongs to another page (DNS rebinding).
    if (url === null || url.origin !== origin || !hosts.has(request.headers.host ?? '')) return send(response, empty(421))
    const body = await readBody(request)
    if (body === undefined) return send(response, empty(413))
    const fault = url.pathname.startsWith('/sandbox/') ? undefined : faults.take(method, url.pathname)
    const facet = ownOf(url, opened)?.facet
    const act = () => serve?.({ method, url, headers: request.headers, body }) ?? empty(503)
    const answer = await withFault(fault, url, act, facet)
    options.onCall?.({ method, path: url.pathname, status: answer?.status ?? 0, fault: fault?.kind })
    if (answer === undefined) response.destroy()
    else send(response, answer)
  }
  const server = createServer({ requestTimeout: 60_000 }, (request, response) => {
    handle(request, response).catch((error: unknown) => {
      options.onError?.(error)
      if (response.headersSent) response.destroy()
      else send(response, empty(500))
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port ?? 0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo
  const origin = `http://127.0.0.1:${port}`
  const hosts = new Set([`127.0.0.1:${port}`, `localhost:${port}`])
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  try {
    const emulators = await startEmulators({ url: origin, clients: options.clients })
    const own = await openOwn(options.clients, tokens, options.now)
    opened = own
    const outside: ReceivedCall = { emulators, calendar: new GoogleCalendar(), graph: new Graph(), own }
    const { clients, accessTtlMs, now } = options
    const authorization = new Authorization({ clients, emulators, tokens, accessTtlMs, now })
    serve = async (asked) => {
      const relay = new URL(clients.google.redirectUri).origin
      if (asked.url.pathname.startsWith('/sandbox/')) return control(asked, { faults, tokens, outside, relay })
      const own = ownOf(asked.url, outside.own)
      if (own !== undefined) return answerAsOwnProvider(own, asked, tokens)
      return (await authorization.answer(asked)) ?? api(asked, tokens, outside)
    }
    return {
      url: origin,
      port,
      async stop() {
        await close()
        await emulators.stop()
      },
    }
  } catch (error) {
    await close()
    throw error
  }
}

function send(response: ServerResponse, { status, headers, body }: SandboxResponse): void {
  response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) }).end(body)
}

/** The response to a call that meets a fault; undefined: none, although the call was done. */
async function withFault(
  fault: Fault | undefined,
  url: URL,
  act: () => Promise<SandboxResponse> | SandboxResponse,
  facet: SandboxFacet | undefined,
): Promise<SandboxResponse | undefined> {
  switch (fault?.kind) {
    case undefined:
      return act()
    case 'slow':
      await pause(fault.delay_ms ?? 1000)
      return act()
    case 'lost':
      await act()
      return undefined
    case 'status': {
      const status = fault.status ?? 503
      const again: Record<string, string> = fault.retry_after === undefined ? {} : { 'retry-after': String(fault.retry_after) }
      const error = status >= 500 ? 'temporarily_unavailable' : 'invalid_request'
      if (facet !== undefined) {
        const answer = facet.error(status, status === 429 ? 'ratelimited' : 'internal_error')
        return { ...answer, headers: { ...answer.headers, ...again } }
      }
      if (url.pathname.endsWith('token')) return json(status, { error }, again)
      return apiError(apiOf(url), status, status === 429 ? 'rateLimitExceeded' : 'backendError', 'Ordered under /sandbox/faults.', again)
    }
  }
}

const apiOf = (url: URL): Api => (url.pathname.startsWith('/v1.0/') ? 'graph' : 'google')

/** A call of an API. Its token must be issued here, valid, and granted for the call. */
async function api(asked: SandboxRequest, tokens: IssuedTokens, { emulators, calendar, graph }: ReceivedCall): Promise<SandboxResponse> {
  const api = apiOf(asked.url)
  const provider = api === 'google' ? 'google' : 'microsoft'
  const holder = tokens.holder(bearerOf(asked), provider)
  if (holder === undefined) {
    const headers = { 'www-authenticate': 'Bearer error="invalid_token"' }
    return api === 'google'
      ? apiError('google', 401, 'authError', 'Request had invalid authentication credentials.', headers)
      : apiError('graph', 401, 'InvalidAuthenticationToken', 'Access token has expired or is not yet valid.', headers)
  }
  const refusal = refusalOf(api, asked.method, asked.url, holder.scopes)
  if (refusal !== undefined) return refusal
  const { email } = holder
  const google = async () => calendar.answer(asked, email) ?? (await searchDrafts(emulators, asked, email))
  const fake = api === 'google' ? await google() : graph.answer(asked, email)
  return fake ?? emulators.ask(provider, asked, email)
}

const visitOrder = z.strictObject({ start_url: z.url(), account: z.string().max(254).optional() })
const tokenOrder = z.strictObject({ action: z.enum(['expire', 'revoke']) })

interface ControlParts {
  faults: Faults
  tokens: IssuedTokens
  outside: ReceivedCall
  /** The origin that browsers return to. */
  relay: string
}

/**
 * What tests and people request from the sandbox itself; never a page of another origin, which could not send JSON here without permission.
 */
async function control(asked: SandboxRequest, { faults, tokens, outside, relay }: ControlParts): Promise<SandboxResponse> {
  const { method, url, headers } = asked
  if (headers.origin !== undefined && headers.origin !== url.origin) return empty(403)
  if (method === 'POST' && headers['content-type'] !== 'application/json')
    return json(415, { error: 'Content-Type must be application/json' })
  switch (`${method} ${url.pathname}`) {
    case 'GET /sandbox/inbox':
      return inboxAnswer(await inboxOf(outside), String(headers.accept ?? ''))
    case 'GET /sandbox/faults':
      return json(200, { faults: faults.list() })
    case 'DELETE /sandbox/faults':
      faults.clear()
      return empty(204)
    case 'POST /sandbox/faults': {
      const fault = faultSchema.safeParse(objectOf(asked))
      if (!fault.success) return json(400, { error: z.prettifyError(fault.error) })
      faults.add(fault.data)
      return empty(204)
    }
    case 'POST /sandbox/tokens': {
      const order = tokenOrder.safeParse(objectOf(asked))
      if (!order.success) return json(400, { error: z.prettifyError(order.error) })
      if (order.data.action === 'expire') tokens.expireAll()
      else tokens.revokeAll()
      return empty(204)
    }
    case 'POST /sandbox/consent': {
      const order = visitOrder.safeParse(objectOf(asked))
      if (!order.success) return json(400, { error: z.prettifyError(order.error) })
      try {
        return json(
          200,
          await giveConsent(
            { startUrl: new URL(order.data.start_url), account: order.data.account },
            relay,
            url.origin,
            accountsOf(outside.own),
          ),
        )
      } catch (error) {
        if (error instanceof ConsentError) return json(400, { error: error.message })
        throw error
      }
    }
    default:
      return json(404, { error: 'There are GET /sandbox/inbox, /sandbox/faults, and POST /sandbox/tokens, /sandbox/consent.' })
  }
}
