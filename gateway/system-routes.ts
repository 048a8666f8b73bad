/** The endpoints of the gateway itself, without a key: health, version, and the documents of the API. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { readFileSync } from 'node:fs'
import type { Health } from '#mesh/grpc/health.ts'
import type { Metrics } from '#mesh/telemetry/metrics.ts'
import type { GatewayConfig } from './config.ts'
import { jsonType } from './contract/routes.ts'
import { docsPage } from './docs/docs-page.ts'
import { openApi } from './docs/openapi.ts'
import { documentedReasons } from './docs/reasons.ts'
import type { Route } from './contract/route-table.ts'

export interface SystemRoutesParts {
  config: GatewayConfig
  health: Health
  routes: readonly Route[]
}

export function systemRoutes(app: FastifyInstance, { config, health, routes }: SystemRoutesParts): void {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
  const reasons = documentedReasons()
  const document = openApi(routes, { version, reasons })
  const page = docsPage(document, reasons)
  const about = JSON.stringify({ version, commit: config.commit, node: process.version })
  // Bytes, encoded once: a string would be encoded again per response, and each copy stays until its client has read it.
  const openApiBytes = Buffer.from(JSON.stringify(document))
  const pageBytes = Buffer.from(page.html)

  const get = (path: string, handler: (reply: FastifyReply, request: FastifyRequest) => unknown, uncounted = false, endpoint = path) =>
    app.get(path, { config: { endpoint, untraced: true, uncounted } }, (request, reply) => handler(reply, request))
  const json = (reply: FastifyReply, text: string | Buffer) => reply.header('content-type', jsonType).send(text)

  const found = kept(async () => {
    const [ready, checks] = await Promise.all([health.ready(), health.dependencies()])
    return { ready, checks }
  }, readyForMs)
  const ready = async (reply: FastifyReply) => {
    const response = await found()
    // A draining process reports it at once, whatever the cached result says.
    const isReady = response.ready && !health.draining
    return json(
      reply.code(isReady ? 200 : 503).header('cache-control', 'no-store'),
      JSON.stringify({ ready: isReady, checks: response.checks }),
    )
  }
  get('/ready', ready, true)
  get('/healthz', (reply) => json(reply, '{"ok":true}'), true)
  get('/version', (reply) => json(reply, about))
  get('/openapi.json', (reply) => json(reply, openApiBytes))
  const docs = (reply: FastifyReply) =>
    reply.header('content-type', 'text/html; charset=utf-8').header('content-security-policy', page.contentSecurityPolicy).send(pageBytes)
  get('/docs', docs)
  get('/docs/', docs, false, '/docs')
  get('/', (reply) => reply.code(302).header('location', '/docs').send())
}

/** On an instance with authentication the route requires the permission; without, it is open. The admin port serves the same metrics. */
export function metricsRoute(app: FastifyInstance, metrics: Metrics): void {
  app.get('/metrics', { config: { endpoint: '/metrics', permission: 'metrics:read', untraced: true } }, async (request, reply) => {
    const { type, body } = await metrics.scrape(request.headers.accept)
    return reply.header('content-type', type).header('cache-control', 'no-store').send(body)
  })
}

/** How long a result of /ready stays valid: all requests in that time share one round of checks. */
const readyForMs = 1000

/** Runs the work again only if the last result is older; concurrent calls share one run. */
function kept<T>(work: () => Promise<T>, forMs: number): () => Promise<T> {
  let last: { at: number; answer: Promise<T> } | undefined
  return () => {
    if (last === undefined || performance.now() - last.at >= forMs) last = { at: performance.now(), answer: work() }
    return last.answer
  }
}
