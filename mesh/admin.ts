/**
 * The admin port of a process: /metrics for Prometheus, /healthz (it runs), /readyz (it and its dependencies respond). Loopback by default.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { ListenAddress } from './config.ts'
import type { Health } from './grpc/health.ts'
import type { Metrics } from './telemetry/metrics.ts'

export interface Admin {
  port: number
  close(): Promise<void>
}

export async function serveAdmin(address: ListenAddress, parts: { metrics: Metrics; health: Health }): Promise<Admin> {
  const answer = async (path: string, accept: string | undefined): Promise<{ status: number; type: string; body: string }> => {
    const json = (status: number, value: unknown) => ({ status, type: 'application/json', body: `${JSON.stringify(value)}\n` })
    if (path === '/metrics') return { status: 200, ...(await parts.metrics.scrape(accept)) }
    if (path === '/healthz') return json(200, { ok: true })
    if (path === '/readyz') {
      const ready = await parts.health.ready()
      return json(ready ? 200 : 503, { ready, checks: await parts.health.dependencies() })
    }
    return json(404, { error: 'try /metrics, /healthz or /readyz' })
  }
  const server = createServer({ requestTimeout: 5000, headersTimeout: 5000, maxHeaderSize: 8192 }, (request, response) => {
    answer((request.url ?? '/').split('?')[0]!, request.headers.accept).then(
      ({ status, type, body }) => response.writeHead(status, { 'content-type': type }).end(body),
      () => response.writeHead(500).end(),
    )
  })
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(address.port, address.host, resolve))
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
