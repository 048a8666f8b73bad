/** A stand-in for the oauth service: a real gRPC server of the mesh, whose handlers a test decides. It keeps what it was asked. */
import { Page } from '#gen/relay/mesh/v1/page.ts'
import { OAuthServiceService } from '#gen/relay/oauth/v1/oauth.ts'
import type { Call } from '#mesh/grpc/call.ts'
import type { Verifier } from '#mesh/grpc/caller.ts'
import { Health } from '#mesh/grpc/health.ts'
import { GrpcServer, type Handlers, served } from '#mesh/grpc/server.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'

type Definition = typeof OAuthServiceService
export type OAuthHandlers = { -readonly [Name in keyof Definition]: Handlers<Definition>[Name] }

export interface OAuthStandIn {
  address: string
  requests: { method: string; request: unknown; call: Call }[]
  /** Replaced by tests that want another answer. */
  handlers: OAuthHandlers
  stop(): Promise<void>
}

export const binding = '__Host-relay-oauth-1a2b3c4d=c2VjcmV0; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600'
export const formBinding = '__Host-relay-oauth-form=c2VjcmV0; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=600'
export const consent = 'https://provider.example/consent?client_id=relay&state=ZGVmYXVsdA.bm9uY2U&code_challenge_method=S256'

const connection = {
  connectionId: '5c0d1c1e-0000-4000-8000-000000000001',
  provider: 'google',
  account: 'tester@example.com',
  scopes: ['openid', 'email'],
  status: 'connected',
  reason: undefined,
  connectedAt: '2025-10-06T06:15:00.000Z',
  refreshedAt: undefined,
}

export const page = (more: Partial<Page>): Page => Page.fromPartial({ status: 200, ...more })

export const usual: OAuthHandlers = {
  authorize: async ({ provider, scopes }, call) => ({
    startUrl: 'https://relay.example/oauth/start/dGlja2V0',
    provider,
    scopes,
    expiresAt: '2025-10-06T06:25:00.000Z',
    requestId: call.requestId,
  }),
  start: async () => page({ html: '<!doctype html><title>Connect</title><form></form>', form: true, setCookies: [formBinding] }),
  continue: async () => page({ html: '<!doctype html><title>Continuing</title>', forward: consent, setCookies: [binding] }),
  callback: async () => page({ html: '<!doctype html><title>Connected</title><h1>Connected</h1>' }),
  listConnections: async (_request, call) => ({ connections: [connection], requestId: call.requestId }),
  disconnect: async (_request, call) => ({ revoked: true, requestId: call.requestId }),
  listProviders: async () => ({ providers: [{ name: 'google', configured: true, missing: [] }] }),
  getConnection: async () => ({ configured: true, missing: [], connection, authorizePath: '/oauth/google/authorize' }),
  getToken: async () => ({ accessToken: 'token', expiresAt: '2025-10-06T07:15:00.000Z', scopes: connection.scopes }),
}

export async function startOAuth(verifier: Verifier): Promise<OAuthStandIn> {
  const standIn: OAuthStandIn = { address: '', requests: [], handlers: { ...usual }, stop: () => Promise.resolve() }
  const recorded = Object.fromEntries(
    Object.keys(usual).map((method) => [
      method,
      async (request: unknown, call: Call) => {
        standIn.requests.push({ method, request, call })
        return (standIn.handlers[method as keyof OAuthHandlers] as (request: unknown, call: Call) => Promise<unknown>)(request, call)
      },
    ]),
  ) as unknown as OAuthHandlers
  const server = new GrpcServer({
    services: [served(OAuthServiceService, recorded)],
    verifier,
    health: new Health({ services: [] }),
    log: createLogger('oauth', 'silent'),
    metrics: new Metrics('oauth'),
  })
  const port = await server.listen({ host: '127.0.0.1', port: 0 })
  standIn.address = `127.0.0.1:${port}`
  standIn.stop = async () => void (await server.drain(0))
  return standIn
}
