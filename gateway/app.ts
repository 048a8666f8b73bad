/** The gateway as a Fastify instance: its hooks in order, and the routes behind them. */
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify'
import { methods } from '#mesh/grpc/descriptors.ts'
import type { Health } from '#mesh/grpc/health.ts'
import type { Logger } from '#mesh/telemetry/log.ts'
import type { Metrics } from '#mesh/telemetry/metrics.ts'
import { runInScope } from '#mesh/telemetry/scope.ts'
import type { GatewayConfig } from './config.ts'
import { boundConnections } from './connections.ts'
import { contractRoutes } from './contract/routes.ts'
import type { Limiter } from './rate-limit/limiter.ts'
import { metricsRoute, systemRoutes } from './system-routes.ts'
import { pageRoutes, rejectUnrouted } from './pages/routes.ts'
import { admission } from './plugins/admission.ts'
import { type AuthenticateParts, authenticate } from './plugins/authenticate.ts'
import { allowOrigins } from './plugins/cors.ts'
import { sendParserError, handleFailures, handleUnmatched, parserStatuses } from './plugins/failures.ts'
import { jsonBody } from './plugins/json-body.ts'
import { methodLabel, observer } from './plugins/observe.ts'
import { addressLimit, maxBodyBytes, rateLimitPlugin } from './plugins/rate-limit.ts'
import { identify, newRequestId } from './plugins/request-id.ts'
import { singleHeaders } from './plugins/single-headers.ts'
import { type SignatureParts, verifySignature } from './plugins/verify-signature.ts'
import { decorateRequests } from './request.ts'
import { type Route, routesOf } from './contract/route-table.ts'
import { traceLink } from './trace-link.ts'
import { headerNamesOf } from './transcoding/transcode.ts'
import type { Upstreams } from './upstreams.ts'

const headerLimit = 16 * 1024
const maxParameterLength = 1024
/** How often Node looks for requests that take too long to arrive. */
const timeoutCheckMs = 1000

export interface AppParts extends AuthenticateParts {
  /** Verifies X-Signature; undefined if no secret is configured. */
  signatures?: SignatureParts['signatures']
  config: GatewayConfig
  log: Logger
  metrics: Metrics
  upstreams: Upstreams
  health: Health
  /** Undefined if no ratelimit service is configured: workspaces then have no limit. */
  limiter: Pick<Limiter, 'decide'> | undefined
}

export async function createApp(parts: AppParts): Promise<FastifyInstance> {
  const { config, log, metrics, tokenSource, signatures, denials, upstreams, health, limiter } = parts
  const routes = routesOf(methods.values())
  // Browsers navigate to pages; programs call the other routes.
  const pages = routes.filter(({ permission }) => permission === undefined)
  const calls = routes.filter(({ permission }) => permission !== undefined)
  const refuse = rejectUnrouted(pages)
  const { begin: observe, expect } = observer(log, metrics)
  const parserErrors = metrics.counter('http_parser_errors_total', 'Malformed HTTP requests, by response status', {
    status_code: parserStatuses,
  })

  const responses = new WeakMap<Socket, ServerResponse>()

  const loggerInstance: FastifyBaseLogger = log
  const app = Fastify({
    loggerInstance,
    // A child logger per request costs more than the one line that each request logs.
    childLoggerFactory: (logger) => logger,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: newRequestId,
    trustProxy: config.trustedProxies.length > 0 ? [...config.trustedProxies] : false,
    bodyLimit: maxBodyBytes,
    requestTimeout: config.requestMs,
    keepAliveTimeout: config.keepAliveMs,
    // While draining, requests on open connections are still served, with a header that closes the connection.
    return503OnClosing: false,
    // The contract reads queries, so they stay text here.
    routerOptions: { maxParamLength: maxParameterLength, querystringParser: (text) => text as never },
    http: {
      maxHeaderSize: headerLimit,
      headersTimeout: Math.min(config.headersMs, config.requestMs),
      connectionsCheckingInterval: Math.min(timeoutCheckMs, config.headersMs),
      // Otherwise Node answers these itself, without a body.
      requireHostHeader: false,
    },
    clientErrorHandler: (error, socket) => {
      const status = sendParserError(error, socket, responses.get(socket))
      const counted = parserStatuses.find((each) => each === String(status))
      if (counted !== undefined) parserErrors.inc({ status_code: counted })
    },
    // The router's own errors come here and pass no hook.
    frameworkErrors: (error, request, reply) => {
      observe(request, reply)
      identify(request, reply)
      void refuse(request, reply, error)
    },
  })
  // Above a number of headers Node silently drops the rest; their size is limited already.
  app.server.maxHeadersCount = 0
  app.server.maxConnections = config.maxConnections
  boundConnections(app.server, {
    stalledMs: config.stalledMs,
    maxPerAddress: config.maxConnectionsPerAddress,
    trustedProxies: config.trustedProxies,
    metrics,
  })
  // A server may ignore an expectation that it does not know (RFC 9110, 10.1.1).
  app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response))

  decorateRequests(app)
  app.addHook('onRoute', ({ config: about, method }) => {
    if (about?.endpoint !== undefined) for (const each of [method].flat()) expect(about.endpoint, methodLabel(each))
  })

  const checkHeaders = singleHeaders(headersOf(routes).map((name) => name.toLowerCase()))
  const link = config.grafanaUrl === undefined ? undefined : traceLink(config.grafanaUrl, config.tempoUrl !== undefined)
  app.addHook('onRequest', (request, reply, done) => {
    responses.set(request.raw.socket, reply.raw)
    observe(request, reply)
    identify(request, reply)
    const opens = link?.(request.id, request.scope.trace, Date.now())
    if (opens !== undefined) reply.header('x-trace-link', opens)
    try {
      checkHeaders(request)
      runInScope(request.scope, done)
    } catch (error) {
      done(error as Error)
    }
  })
  handleFailures(app)
  const limitAddress = addressLimit({ perMinute: config.addressLimit })
  const unmatched = handleUnmatched(app, limitAddress)
  app.addHook('onRequest', unmatched.options)
  await allowOrigins(app, config.corsOrigins, headersOf(calls))
  app.addHook('onRequest', limitAddress)
  app.addHook('onRequest', unmatched.others)
  jsonBody(app)

  systemRoutes(app, { config, health, routes })
  if (config.metricsPublic) metricsRoute(app, metrics)
  const services = { upstreams, optional: config.optionalUpstreams }
  await app.register(async (scope) => pageRoutes(scope, pages, services))
  await app.register(async (scope) => {
    authenticate(scope, { tokenSource, denials })
    if (!config.metricsPublic) metricsRoute(scope, metrics)
    admission(scope, { bodyLimit: maxBodyBytes, metrics })
    if (limiter !== undefined) rateLimitPlugin(scope, { limiter })
    verifySignature(scope, { signatures, required: config.requireSignature, denials, metrics })
    contractRoutes(scope, calls, services)
  })
  return app
}

/** The request headers that contracts name. */
const headersOf = (routes: readonly Route[]): string[] => routes.flatMap((route) => headerNamesOf(route.method.descriptor.input))

/** Accepts no new connections, lets requests in flight finish until the timeout, and cuts the rest. Resolves to false if it cut any. */
export async function drain(app: FastifyInstance, timeoutMs: number): Promise<boolean> {
  let cut = false
  // A connection becomes idle when its request ends. Node closes idle connections only once, so this repeats.
  const idle = setInterval(() => app.server.closeIdleConnections(), 50)
  const late = setTimeout(() => {
    cut = true
    app.server.closeAllConnections()
  }, timeoutMs)
  await app.close()
  clearInterval(idle)
  clearTimeout(late)
  return !cut
}
