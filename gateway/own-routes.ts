/** What the gateway answers itself, to anybody: how it is, what it is, and what there is to call. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { readFileSync } from 'node:fs'
import type { Health } from '#mesh/grpc/health.ts'
import type { Metrics } from '#mesh/telemetry/metrics.ts'
import type { GatewayConfig } from './config.ts'
import { jsonType } from './contract-routes.ts'
import { docsPage } from './docs-page.ts'
import { openApi } from './openapi.ts'
import { documentedReasons } from './reasons.ts'
import type { Route } from './routes.ts'

export interface OwnRoutesParts {
  config: GatewayConfig
  metrics: Metrics
  health: Health
  routes: readonly Route[]
}

export function ownRoutes(app: FastifyInstance, { config, metrics, health, routes }: OwnRoutesParts): void {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
  const reasons = documentedReasons(readFileSync(new URL('../docs/errors.md', import.meta.url), 'utf8'))
  const document = openApi(routes, { version, reasons })
  const page = docsPage(document, reasons)
  const about = JSON.stringify({ version, commit: config.commit, node: process.version })
  const openApiText = JSON.stringify(document)

  const get = (path: string, handler: (reply: FastifyReply, request: FastifyRequest) => unknown) =>
    app.get(path, { config: { endpoint: path, untraced: true } }, (request, reply) => handler(reply, request))
  const json = (reply: FastifyReply, text: string) => reply.header('content-type', jsonType).send(text)

  get('/ready', async (reply) => {
    const [ready, checks] = await Promise.all([health.ready(), health.dependencies()])
    return json(reply.code(ready ? 200 : 503).header('cache-control', 'no-store'), JSON.stringify({ ready, checks }))
  })
  get('/healthz', (reply) => json(reply, '{"ok":true}'))
  get('/version', (reply) => json(reply, about))
  get('/metrics', async (reply, request) => {
    const { type, body } = await metrics.scrape(request.headers.accept)
    return reply.header('content-type', type).header('cache-control', 'no-store').send(body)
  })
  get('/openapi.json', (reply) => json(reply, openApiText))
  get('/docs', (reply) =>
    reply.header('content-type', 'text/html; charset=utf-8').header('content-security-policy', page.contentSecurityPolicy).send(page.html),
  )
}
