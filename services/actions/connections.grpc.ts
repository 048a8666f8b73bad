import { createHash } from 'node:crypto'
import { OAuthServiceService } from '#gen/relay/oauth/v1/oauth.ts'
import { MeshError, meshErrors } from '#mesh/errors.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import { type Channel, methodsOf } from '#mesh/grpc/client.ts'
import type { Runtime } from '#mesh/serve.ts'
import { type Connections, noConnections } from './connections.ts'
import { FollowedProviders, type Providers } from './providers.ts'

/** Maximum wait for a token, in milliseconds: it may have to be refreshed at the provider first. */
const tokenMs = 15_000

/** The oauth service at an address: accounts on request, providers continuously. */
export function connectionsThroughOauth(
  runtime: Pick<Runtime, 'log' | 'onStop'>,
  channelTo: (service: string, address: string) => Channel,
  address: string | undefined,
): { connections: Connections; providers: Providers } {
  const channel = address === undefined ? undefined : channelTo('oauth', address)
  return { connections: grpcConnections(channel), providers: followProviders(runtime, channel) }
}

/** Without a channel there is no oauth service; the connections report that no account can act then. */
function followProviders(runtime: Pick<Runtime, 'log' | 'onStop'>, channel: Channel | undefined): Providers {
  if (channel === undefined) return { unavailable: () => undefined }
  const oauth = methodsOf(OAuthServiceService, channel)
  const ask = async () => {
    const { providers } = await oauth.listProviders({}, ownContext())
    return new Map(providers.map(({ name, configured, missing }) => [name, configured ? [] : missing]))
  }
  const followed = new FollowedProviders({ ask, log: runtime.log })
  followed.start()
  runtime.onStop('providers', () => followed.stop())
  return followed
}

/** Without a channel nothing is connected, and nothing can be. */
export function grpcConnections(channel: Channel | undefined): Connections {
  if (channel === undefined) return noConnections
  const oauth = methodsOf(OAuthServiceService, channel)
  return {
    async find({ workspace, actor, provider }, context) {
      const { configured, missing, connection, authorizePath } = await oauth
        .getConnection({ owner: { workspace, actor, provider } }, context)
        .catch((cause: unknown) => {
          // None of its rejections is the caller's fault: the state of the connection is unknown now.
          throw meshErrors.DEPENDENCY_UNAVAILABLE({ cause, retryAfterMs: 1000 })
        })
      if (!configured) return { configured, missing }
      if (connection === undefined) return { configured, connection, authorizePath }
      const { connectionId, account, scopes, status, reason } = connection
      // A newer service may have states that this code does not know: none of them can act.
      const known = status === 'connected' ? status : 'reauth_required'
      return { configured, connection: { connectionId, account, scopes, status: known, reason }, authorizePath }
    },

    async token({ workspace, actor, provider, connectionId }, context, refused) {
      const refusedTokenSha256 = refused === undefined ? undefined : createHash('sha256').update(refused).digest('hex')
      try {
        const asked = { owner: { workspace, actor, provider }, connectionId, refusedTokenSha256 }
        const { accessToken, scopes } = await oauth.getToken(asked, context, { timeoutMs: tokenMs })
        return { accessToken, scopes }
      } catch (cause) {
        // Its own rejections (reconnect, a different connection now) are answers; every other error means unknown.
        if (cause instanceof MeshError && cause.domain === 'oauth') throw cause
        throw meshErrors.DEPENDENCY_UNAVAILABLE({ cause, retryAfterMs: 1000 })
      }
    },
  }
}
