/** A gateway for tests: the real app on a free port, in front of a stand-in of actions. */
import { connect as connectSocket } from 'node:net'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { readConfig } from '#mesh/config.ts'
import { identity } from '#mesh/identity.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { type AppParts, createApp } from '../../gateway/app.ts'
import { gatewayVariables } from '../../gateway/config.ts'
import { readiness } from '../../gateway/readiness.ts'
import { connect } from '../../gateway/upstreams.ts'
import { type ActionsStandIn, startActions } from '../fakes/actions-service.ts'

export const apiKey = 'a-key-that-is-only-in-these-tests'

export interface TestGateway {
  url: string
  port: number
  app: FastifyInstance
  actions: ActionsStandIn
  metrics: Metrics
  /** The lines logged so far, parsed. */
  logged: Record<string, unknown>[]
  /** Calls with the key, and JSON where there is a body. */
  call(path: string, init?: { method?: string; body?: unknown; headers?: Record<string, string> }): Promise<Response>
  /** Writes bytes to a connection of its own and resolves to all that came back when the gateway closed it. */
  raw(...chunks: (string | Buffer)[]): Promise<string>
  stop(): Promise<void>
}

export async function startGateway(env: NodeJS.ProcessEnv = {}, parts: Partial<AppParts> = {}): Promise<TestGateway> {
  const secrets = { RELAY_STATIC_KEY: apiKey, MESH_PEER_SECRET: 'a-peer-secret-only-in-these-tests' }
  const keys = readConfig(gatewayVariables, { ...secrets, UPSTREAMS: 'none=127.0.0.1:1' })
  const { verifier, peerToken } = identity('gateway', keys)
  const actions = await startActions(verifier)
  const config = readConfig(gatewayVariables, { ...secrets, UPSTREAMS: `actions=${actions.address}`, ...env })
  const upstreams = connect(config.upstreams, { peerToken })
  const metrics = new Metrics('gateway')
  const logged: Record<string, unknown>[] = []
  const log = createLogger('gateway', 'info', { write: (line: string) => void logged.push(JSON.parse(line) as Record<string, unknown>) })
  const health = readiness({ upstreams, optional: config.optionalUpstreams, redis: undefined })
  const app = await createApp({ config, log, metrics, verifier, upstreams, health, limiter: undefined, ...parts })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}`
  return {
    url,
    port,
    app,
    actions,
    metrics,
    logged,
    call: (path, { method, body, headers } = {}) =>
      fetch(url + path, {
        method: method ?? (body === undefined ? 'GET' : 'POST'),
        headers: { authorization: `Bearer ${apiKey}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      }),
    raw: (...chunks) =>
      new Promise((resolve) => {
        const socket = connectSocket(port, '127.0.0.1')
        let received = ''
        socket.on('data', (data) => (received += data.toString('latin1')))
        socket.on('error', () => undefined)
        socket.on('close', () => resolve(received))
        for (const chunk of chunks) socket.write(chunk)
      }),
    stop: async () => {
      app.server.closeAllConnections()
      await app.close()
      upstreams.forEach((channel) => channel.close())
      await actions.stop()
    },
  }
}

/** The parts of a response as it came over a socket. */
export function parseRaw(text: string): { status: number; headers: Headers; body: string } {
  const [head = '', ...rest] = text.split('\r\n\r\n')
  const [statusLine = '', ...lines] = head.split('\r\n')
  const headers = new Headers(
    lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()] as [string, string]),
  )
  return { status: Number(statusLine.split(' ')[1]), headers, body: rest.join('\r\n\r\n') }
}
