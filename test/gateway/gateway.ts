/** A gateway for tests: the real app and its real sign-in on a free port, in front of stand-ins of actions and access. */
import { connect as connectSocket } from 'node:net'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { newApiKey } from '#mesh/api-key.ts'
import type { Denial } from '#mesh/audit/denials.ts'
import { readConfig } from '#mesh/config.ts'
import { Channel } from '#mesh/grpc/client.ts'
import type { Health } from '#mesh/grpc/health.ts'
import { followAccess, identity } from '#mesh/identity.ts'
import type { Runtime } from '#mesh/serve.ts'
import { CallerTokenSource, exchangeClient } from '#mesh/token-exchange.ts'
import { signatureKeyring } from '#mesh/signature-variables.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { type AppParts, createApp } from '../../gateway/app.ts'
import { gatewayVariables } from '../../gateway/config.ts'
import { readiness } from '../../gateway/readiness.ts'
import { connect } from '../../gateway/upstreams.ts'
import { type ActionsStandIn, startActions } from '../fakes/actions-service.ts'
import { type FakeAccess, type FakeCaller, type FakeMesh, fakeMesh, startFakeAccess } from '../fakes/identity.ts'

/** A key of the tester, who may do everything in the workspace `default`. */
export const apiKey = newApiKey('test')
export const tester = { workspace: 'default', actor: 'tester', keyId: 'key-of-tester' } as const

export interface TestGateway {
  url: string
  port: number
  app: FastifyInstance
  actions: ActionsStandIn
  mesh: FakeMesh
  access: FakeAccess
  /** The keys that access knows. */
  keys: Map<string, FakeCaller & { allowedSources?: readonly string[] }>
  /** What the gateway refused by itself. */
  refused: Denial[]
  metrics: Metrics
  health: Health
  /** The lines logged so far, parsed. */
  logged: Record<string, unknown>[]
  /** Calls with the key, and JSON where there is a body. */
  call(path: string, init?: { method?: string; body?: unknown; headers?: Record<string, string> }): Promise<Response>
  /** Writes bytes to a connection of its own and resolves to all that came back when the gateway closed it. */
  raw(...chunks: (string | Buffer)[]): Promise<string>
  stop(): Promise<void>
}

export async function startGateway(env: NodeJS.ProcessEnv = {}, parts: Partial<AppParts> = {}, mesh = fakeMesh()): Promise<TestGateway> {
  const keys: TestGateway['keys'] = new Map([[apiKey, tester]])
  const [actions, access] = await Promise.all([startActions(mesh.verifierFor('actions')), startFakeAccess(mesh, { keys })])
  const min = { ...mesh.env('gateway'), UPSTREAMS: `actions=${actions.address},access=${access.address}` }
  const config = readConfig(gatewayVariables, { ...min, ...env })
  const own = identity('gateway', config)
  const upstreams = connect(config.upstreams, { peerToken: own.peerToken })
  const metrics = new Metrics('gateway')
  const logged: Record<string, unknown>[] = []
  const log = createLogger('gateway', 'info', { write: (line: string) => void logged.push(JSON.parse(line) as Record<string, unknown>) })
  const stops: (() => unknown)[] = []
  const runtime = { name: 'gateway', config, log, metrics, onStop: (_what: string, stop: () => unknown) => stops.push(stop) }
  const verifier = followAccess(runtime as unknown as Runtime, own, { address: access.address })
  // Of its own: a test may put another service where routes find access.
  const channel = new Channel({ address: access.address, peerToken: own.peerToken })
  stops.push(() => channel.close())
  const tokenSource = new CallerTokenSource({ exchange: exchangeClient(channel), verifier, env: 'test' })
  const refused: Denial[] = []
  const denials = { note: (refusal: Denial) => void refused.push(refusal) }
  const health = readiness({ upstreams, optional: config.optionalUpstreams, verifier, redis: undefined })
  const signatures = signatureKeyring(config, verifier, { log, metrics })
  const app = await createApp({
    config,
    log,
    metrics,
    tokenSource,
    signatures,
    denials,
    upstreams,
    health,
    limiter: undefined,
    ...parts,
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}`
  return {
    url,
    port,
    app,
    actions,
    mesh,
    access,
    keys,
    refused,
    metrics,
    health,
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
      for (const stop of stops.reverse()) await stop()
      await Promise.all([actions.stop(), access.stop()])
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
