/**
 * The public routes that return a Page: a browser navigates to them from a link, a foreign redirect, or one of Relay's forms. A request
 * that is not a navigation reaches no service. The routes have no authentication, so the service itself checks what the request shows; it
 * sees only Relay's own cookies. Errors are pages too.
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

/** Needs its own Fastify instance: errors in it become pages. */
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

/** Reads the body of a form. */
function formBody(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser<Buffer>(
    'application/x-www-form-urlencoded',
    { parseAs: 'buffer', bodyLimit: formLimit },
    (request, body, done) => {
      // The end of the body is an event of the connection, outside the scope of the request: enter it again.
      runInScope(request.scope, () => done(null, body))
    },
  )
  app.addContentTypeParser('*', (_request, _body, done) => {
    done(errors.UNSUPPORTED_MEDIA_TYPE({ message: 'The body is not a form. Send Content-Type: application/x-www-form-urlencoded.' }))
  })
}

function sendFailurePage(request: FastifyRequest, reply: FastifyReply, error: unknown): FastifyReply {
  return sendRefusal(request, reply, failurePage(noteFailure(request, reply, error), request.id))
}

/**
 * Answers a request that the router rejects before it matches a route: with a page if it was meant for one of these routes, else with a
 * problem.
 */
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
    // A link scanner that looks at a link before a person opens it must not use it up.
    exposeHeadRoute: false,
    config: { endpoint: route.endpoint },
    handler: async (request, reply) => {
      const { response } = await call(request, { cookie: ownCookies(request.headers.cookie) })
      const { status, headers, body } = readPage(response)
      return reply.code(status).headers(headers).send(body)
    },
  })
}
