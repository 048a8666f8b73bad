/**
 * The public routes of the contracts: HTTP in, bytes to the service, JSON (or an HttpBody) out. Everything constant is built once per
 * route.
 */
import type { FastifyInstance } from 'fastify'
import { key } from '#mesh/telemetry/names.ts'
import { isHttpBody, readHttpBody } from './http-body.ts'
import { nextPageLink } from './next-page.ts'
import { toRouterPath } from './path-template.ts'
import { responseWriter } from '../transcoding/response-json.ts'
import type { Route } from './route-table.ts'
import { serviceCall } from './service-call.ts'
import { type Services, channelOf } from '../upstreams.ts'

export const jsonType = 'application/json; charset=utf-8'

export function contractRoutes(app: FastifyInstance, routes: readonly Route[], services: Services): void {
  for (const route of routes) addRoute(app, route, services)
}

function addRoute(app: FastifyInstance, route: Route, services: Services): void {
  const { method, permission, endpoint } = route
  const call = serviceCall(route, channelOf(services, route))
  const write = writerOf(route)
  // A GET that creates something each time: it needs more than read permission, and no cache may store it.
  const single = route.httpMethod === 'GET' && !method.safeToRepeat
  app.route({
    method: route.httpMethod,
    url: toRouterPath(route.template).path,
    exposeHeadRoute: !single,
    config: { endpoint, permission, takesBody: route.body !== undefined, limited: true, single },
    handler: async (request, reply) => {
      const { response, replies } = await call(request, request.headers)
      const { work } = request.scope
      const run = replies.get(key.run)[0]
      if (run !== undefined) work.runId = String(run)
      const replayed = replies.get(key.replayed)[0]
      if (replayed !== undefined) {
        reply.header('idempotency-replayed', replayed)
        work.replayed = true
      }
      const next = replies.get(key.nextPage)[0]
      if (next !== undefined) reply.header('link', nextPageLink(request.url, String(next)))
      if (single) reply.header('cache-control', 'no-store')
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
