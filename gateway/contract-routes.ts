/**
 * The public routes of the contracts: HTTP in, bytes to the service, JSON (or an HttpBody) out. Everything that does not change is made
 * once a route.
 */
import type { FastifyInstance } from 'fastify'
import { key } from '#mesh/telemetry/names.ts'
import { isHttpBody, readHttpBody } from './http-body.ts'
import { nextPageLink } from './next-page.ts'
import { toRouterPath } from './path-template.ts'
import { responseWriter } from './response-json.ts'
import type { Route } from './routes.ts'
import { requestReader } from './transcode.ts'
import { type Upstreams, channelOf } from './upstreams.ts'

export const jsonType = 'application/json; charset=utf-8'

export function contractRoutes(app: FastifyInstance, routes: readonly Route[], upstreams: Upstreams): void {
  for (const route of routes) addRoute(app, route, upstreams)
}

function addRoute(app: FastifyInstance, route: Route, upstreams: Upstreams): void {
  const { method, permission, endpoint } = route
  const channel = channelOf(upstreams, route)
  const read = requestReader(route)
  const write = writerOf(route)
  app.route({
    method: route.httpMethod,
    url: toRouterPath(route.template).path,
    config: { endpoint, permission, takesBody: route.body !== undefined, limited: true },
    handler: async (request, reply) => {
      const message = read({
        params: request.params as Record<string, string>,
        query: request.query as string,
        headers: request.headers,
        body: request.body as Buffer | undefined,
      })
      const gone = (request.gone = new AbortController())
      // Metadata is made of these alone: no header of the client's reaches a service.
      const { response, replies } = await channel.call(method.path, message, {
        requestId: request.id,
        trace: request.trace,
        signal: gone.signal,
        callerToken: request.callerToken,
        source: request.source,
      })
      const replayed = replies.get(key.replayed)[0]
      if (replayed !== undefined) reply.header('idempotency-replayed', replayed)
      const next = replies.get(key.nextPage)[0]
      if (next !== undefined) reply.header('link', nextPageLink(request.url, String(next)))
      const { type, body } = write(response)
      return reply.header('content-type', type).send(body)
    },
  })
}

function writerOf({ method }: Route): (bytes: Uint8Array) => { type: string; body: string | Buffer } {
  const { output } = method.descriptor
  if (isHttpBody(output)) return readHttpBody
  const write = responseWriter(output)
  return (bytes) => ({ type: jsonType, body: write(bytes) })
}
