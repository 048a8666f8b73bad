/**
 * The public routes that answer a Page: a browser navigates to them, from a link or sent by somebody else's redirect. Nobody is
 * authenticated, so the service itself checks what the request shows; of the browser's cookies it is told only ours. What goes wrong is a
 * page too.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { parseSource } from '#mesh/grpc/source.ts'
import { errors } from './errors.ts'
import { failurePage } from './failure-page.ts'
import { ownCookies, readPage } from './page.ts'
import { rawPattern, toRouterPath } from './path-template.ts'
import { noteFailure, sendProblem } from './plugins/failures.ts'
import { holdsKey } from './query.ts'
import type { Route } from './routes.ts'
import { serviceCall } from './service-call.ts'
import { type Services, channelOf } from './upstreams.ts'

/** For an instance of its own: what fails in it is answered to a browser. */
export function pageRoutes(app: FastifyInstance, routes: readonly Route[], services: Services): void {
  app.setErrorHandler((error, request, reply) => sendFailurePage(request, reply, error))
  app.addHook('onRequest', (request, _reply, done) => {
    request.source = parseSource(request.ip ?? '')
    done(holdsKey(request.query as string) ? errors.KEY_IN_QUERY() : undefined)
  })
  for (const route of routes) addRoute(app, route, services)
}

function sendFailurePage(request: FastifyRequest, reply: FastifyReply, error: unknown): FastifyReply {
  const { status, headers, body } = failurePage(noteFailure(request, reply, error), request.id)
  return reply.code(status).headers(headers).send(body)
}

/** Answers what the router refused before it matched it to a route: on a page where it was meant for one of these routes, else as a problem. */
export function refuseUnrouted(routes: readonly Route[]): typeof sendProblem {
  const meant = routes.map(({ httpMethod, template }) => ({ httpMethod, path: rawPattern(template) }))
  return (request, reply, error) => {
    const path = request.raw.url!.split(/[?#]/)[0]!
    const isPage = meant.some((route) => route.httpMethod === request.method && route.path.test(path))
    return (isPage ? sendFailurePage : sendProblem)(request, reply, error)
  }
}

function addRoute(app: FastifyInstance, route: Route, services: Services): void {
  const call = serviceCall(route, channelOf(services, route))
  app.route({
    method: route.httpMethod,
    url: toRouterPath(route.template).path,
    // What looks at a link before a person follows it must not use it up.
    exposeHeadRoute: false,
    config: { endpoint: route.endpoint },
    handler: async (request, reply) => {
      const { response } = await call(request, { cookie: ownCookies(request.headers.cookie) })
      const { status, headers, body } = readPage(response)
      return reply.code(status).headers(headers).send(body)
    },
  })
}
