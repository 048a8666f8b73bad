/** The RPCs of relay.oauth.v1.OAuthService: proto ⇄ domain, nothing more. */
import { type Connection as ConnectionMessage, OAuthServiceService } from '#gen/relay/oauth/v1/oauth.ts'
import type { Principal } from '#mesh/audit/event.ts'
import { meshErrors } from '#mesh/errors.ts'
import { type Call, principalOf, callerOf } from '#mesh/grpc/call.ts'
import { type BoundServer, served } from '#mesh/grpc/server.ts'
import { annotate } from '#mesh/telemetry/scope.ts'
import type { BrowserCall } from './connect/callback.ts'
import type { ConnectFlow } from './connect/connect.ts'
import type { Disconnector } from './connect/disconnect.ts'
import { type Connections, authorizePath } from './connections/connections.ts'
import type { Connection } from './connections/store.ts'
import type { ProviderLookup as ProviderFound, Providers } from './providers/registry.ts'
import type { Tokens } from './tokens/tokens.ts'

export interface ServiceParts {
  connectFlow: ConnectFlow
  disconnector: Disconnector
  connections: Pick<Connections, 'find' | 'list'>
  tokens: Pick<Tokens, 'token'>
  providers: Pick<Providers, 'find' | 'list'>
}

export function oauthService({ connectFlow, disconnector, connections, tokens, providers }: ServiceParts): BoundServer {
  return served(OAuthServiceService, {
    async authorize({ provider, scopes, returnTo, sessionSha256: session }, call) {
      const begun = await connectFlow.authorize(principalOf(call), {
        provider,
        scopes,
        returnTo,
        session,
        keyExpiresAtMs: callerOf(call).keyExpiresAtMs,
      })
      return {
        startUrl: begun.startUrl,
        provider: begun.provider,
        scopes: [...begun.scopes],
        expiresAt: begun.expiresAt.toISOString(),
        requestId: call.requestId,
      }
    },

    start: ({ ticket, cookie }, call) => connectFlow.start(ticket, cookie, visitOf(call)),

    continue: (sent, call) => connectFlow.proceed(sent, visitOf(call)),

    callback({ provider, state, code, iss, error, cookie }, call) {
      return connectFlow.callback({ provider, state, code, iss, error, cookie }, visitOf(call))
    },

    async listConnections(_, call) {
      const { workspace, actor } = callerOf(call)
      const listed = await connections.list(workspace, actor)
      return { connections: listed.map(toMessage), requestId: call.requestId }
    },

    async disconnect({ connectionId }, call) {
      const { revoked } = await disconnector.disconnect(principalOf(call), connectionId)
      return { revoked, requestId: call.requestId }
    },

    async listProviders() {
      const all = [...providers.list()].map(([name, found]) => ({ name, configured: 'provider' in found, missing: missingOf(found) }))
      return { providers: all }
    },

    async getConnection({ owner }) {
      const whose = required(owner)
      const found = providers.find(whose.provider)
      const connection = await connections.find(whose)
      return {
        configured: found !== undefined && 'provider' in found,
        missing: missingOf(found),
        connection: connection && toMessage(connection),
        authorizePath: authorizePath(whose.provider),
      }
    },

    async getToken({ owner, connectionId, refusedTokenSha256 }, call) {
      const whose = required(owner)
      const by: Principal = { workspace: whose.workspace, actor: whose.actor, keyId: '', ...visitOf(call) }
      const token = await tokens.token({ ...whose, connectionId, refused: refusedTokenSha256 }, by)
      return { accessToken: token.accessToken, expiresAt: token.expiresAt.toISOString(), scopes: [...token.scopes] }
    },
  })
}

/** If the call's caller, if any, is not the owner. */
const visitOf = ({ requestId, trace, source = '' }: Call): BrowserCall => ({ requestId, traceId: trace.traceId, source })

/** A peer names the owner of the connection: work without a caller, such as a reconciler's, has one too. */
function required<Owner extends { workspace: string }>(owner: Owner | undefined): Owner {
  if (owner === undefined) throw meshErrors.INVALID_REQUEST()
  annotate({ workspace: owner.workspace })
  return owner
}

const missingOf = (found: ProviderFound | undefined): string[] => (found !== undefined && 'missing' in found ? [...found.missing] : [])

const toMessage = (connection: Connection): ConnectionMessage => ({
  connectionId: connection.connectionId,
  provider: connection.provider,
  account: connection.account,
  scopes: [...connection.scopes],
  status: connection.status,
  reason: connection.reason,
  connectedAt: connection.connectedAt.toISOString(),
  refreshedAt: connection.refreshedAt?.toISOString(),
})
