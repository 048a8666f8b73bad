/**
 * What the fakes of providers' APIs have in common: JSON over HTTP on loopback, bearer tokens, every call remembered, and answers that
 * go wrong on demand:
 *
 *   api.inject('insert', { status: 503 }, 'answer lost')   // the first insert is refused, the second one done, but nobody hears of it
 */
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Call {
  route: string
  method: string
  path: string
  query: URLSearchParams
  headers: http.IncomingHttpHeaders
  /** Parsed JSON; undefined where there was no body. */
  body: unknown
}

export interface Reply {
  status: number
  body?: unknown
  headers?: Record<string, string>
}

export interface Route {
  name: string
  method: string
  /** Its groups go to `handle`, decoded. */
  path: RegExp
  handle(call: Call, ...groups: string[]): Reply
}

export type Fault =
  /** Not done, and answered with this. */
  | Reply
  /** Not done, and the connection is cut. */
  | 'cut'
  /** Done, and the connection is cut. */
  | 'answer lost'
  /** Done, and answered with this all the same. */
  | { instead: Reply }
  /** Done and answered once this resolves, also when the caller went away. */
  | { held: Promise<unknown> }

export interface ProviderApi {
  /** Without a trailing slash. */
  readonly url: string
  /** In their order; also those that a fault made nothing of. */
  readonly calls: readonly Call[]
  /** The access tokens that are good. */
  readonly tokens: Set<string>
  /** What becomes of the next calls of a route, one each; undefined is nothing out of the ordinary. */
  inject(route: string, ...faults: (Fault | undefined)[]): void
  /** Forgets the faults that have not happened yet. */
  reset(): void
  /** Resolves once a route was called this often. */
  called(route: string, times?: number): Promise<void>
  /** Resolves once the next call of a route that was held is done, whether or not somebody is left to hear of it. */
  answered(route: string): Promise<void>
  close(): Promise<void>
}

export interface ProviderApiOptions {
  routes: readonly Route[]
  tokens?: readonly string[]
  /** An error as this provider writes it. */
  problem(status: number, code: string): unknown
}

export async function startProviderApi({ routes, tokens = ['token-1'], problem }: ProviderApiOptions): Promise<ProviderApi> {
  const calls: Call[] = []
  const good = new Set(tokens)
  const faults = new Map<string, (Fault | undefined)[]>()
  const waiting = new Set<() => void>()
  const listening = new Map<string, (() => void)[]>()
  for (const { name } of routes) {
    faults.set(name, [])
    listening.set(name, [])
  }

  const respond = async (request: http.IncomingMessage, response: http.ServerResponse) => {
    const text = Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>)).toString('utf8')
    const url = new URL(request.url!, 'http://fake')
    const found = routes
      .map((route) => ({ route, match: route.path.exec(url.pathname) }))
      .find(({ route, match }) => route.method === request.method && match)
    const { method = '', headers } = request
    const call = { route: found?.route.name ?? 'none', method, path: url.pathname, query: url.searchParams, headers, body: parsed(text) }
    calls.push(call)
    for (const check of waiting) check()
    if (found === undefined) return write(response, { status: 404, body: problem(404, 'NoSuchRoute') })
    if (!good.has(/^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1] ?? ''))
      return write(response, { status: 401, body: problem(401, 'InvalidAuthenticationToken') })
    const isJson = headers['content-type']?.split(';')[0] === 'application/json'
    if (text !== '' && (!isJson || call.body === undefined)) return write(response, { status: 400, body: problem(400, 'BadJson') })

    const done = () => found.route.handle(call, ...found.match!.slice(1).map(decodeURIComponent))
    const fault = faults.get(found.route.name)!.shift()
    if (fault === undefined) return write(response, done())
    if (fault === 'cut') return response.destroy()
    if (fault === 'answer lost') {
      done()
      return response.destroy()
    }
    if ('held' in fault) {
      await fault.held
      write(response, done())
      for (const told of listening.get(found.route.name)?.splice(0) ?? []) told()
      return
    }
    if ('instead' in fault) {
      done()
      return write(response, fault.instead)
    }
    write(response, { body: problem(fault.status, 'Injected'), ...fault })
  }
  const server = http.createServer((request, response) => {
    respond(request, response).catch((error: unknown) => {
      if (!response.headersSent) write(response, { status: 500, body: problem(500, String(error)) })
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    tokens: good,
    inject: (route, ...next) => {
      const queue = faults.get(route)
      if (queue === undefined) throw new Error(`there is no route ${route}`)
      queue.push(...next)
    },
    reset: () => {
      for (const queue of faults.values()) queue.length = 0
    },
    called: (route, times = 1) =>
      new Promise((resolve) => {
        const check = () => {
          if (calls.filter((call) => call.route === route).length < times) return
          waiting.delete(check)
          resolve()
        }
        waiting.add(check)
        check()
      }),
    answered: (route) => new Promise((resolve) => listening.get(route)!.push(resolve)),
    close: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

/** The names in a value that the provider does not know: a strict fake refuses them where the real one might. */
export function unknownNames(value: unknown, known: readonly string[]): string[] {
  return value !== null && typeof value === 'object' ? Object.keys(value).filter((name) => !known.includes(name)) : ['(no object)']
}

function parsed(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text)
  } catch {
    return undefined
  }
}

function write(response: http.ServerResponse, { status, body, headers = {} }: Reply): void {
  if (body === undefined) return void response.writeHead(status, headers).end()
  response.writeHead(status, { 'content-type': 'application/json; charset=UTF-8', ...headers }).end(JSON.stringify(body))
}
