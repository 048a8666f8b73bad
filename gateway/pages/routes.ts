/**
 * The public routes that answer a Page: a browser navigates to them, from a link, sent by somebody else's redirect, or by a form of ours.
 * What is not a navigation reaches no service. Nobody is authenticated, so the service itself checks what the request shows; of the browser's cookies it is told only ours. What goes wrong is a
 * page too.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { parseSource } from '#mesh/grpc/source.ts'
import { runInScope } from '#mesh/telemetry/scope.ts'
import { errors } from '../errors.ts'
import { failurePage } from './failure-page.ts'
import { isNavigation } from './navigation.ts'
import { ownCookies, readPage } from './page.ts'
import { rawPattern, toRouterPath } from '../contract/path-template.ts'
import { noteFailure, sendProblem, sendRefusal } from '../plugins/failures.ts'
import { showsKey } from '../contract/query.ts'
import type { Route } from '../contract/route-table.ts'
import { serviceCall } from '../contract/service-call.ts'
import { type Services, channelOf } from '../upstreams.ts'

/** In bytes. */
const formLimit = 16 * 1024

/** For an instance of its own: what fails in it is answered to a browser. */
export function pageRoutes(app: FastifyInstance, routes: readonly Route[], services: Services): void {
  app.setErrorHandler((error, request, reply) => sendFailurePage(request, reply, error))
  app.addHook('onRequest', (request, _reply, done) => {
    request.source = parseSource(request.ip ?? '')
    if (showsKey(request.query as string)) done(errors.KEY_IN_QUERY())
    else done(isNavigation(request.method, request.headers) ? undefined : errors.NOT_A_NAVIGATION())
  })
  formBody(app)
  for (const route of routes) addRoute(app, route, services)
}

/** What a browser sends of a form. */
function formBody(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser<Buffer>(
    'application/x-www-form-urlencoded',
    { parseAs: 'buffer', bodyLimit: formLimit },
    (request, body, done) => {
      // The body's end comes from the connection: from here on it is the request's work again.
      runInScope(request.scope, () => done(null, body))
    },
  )
  app.addContentTypeParser('*', (_request, _body, done) => {
    done(errors.UNSUPPORTED_MEDIA_TYPE({ message: 'A form is sent as application/x-www-form-urlencoded.' }))
  })
}

function sendFailurePage(request: FastifyRequest, reply: FastifyReply, error: unknown): FastifyReply {
  return sendRefusal(request, reply, failurePage(noteFailure(request, reply, error), request.id))
}

/** Answers what the router refused before it matched it to a route: on a page where it was meant for one of these routes, else as a problem. */
export function rejectUnrouted(routes: readonly Route[]): typeof sendProblem {
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
