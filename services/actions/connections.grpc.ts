import { createHash } from 'node:crypto'
import { OAuthServiceService } from '#gen/relay/oauth/v1/oauth.ts'
import { MeshError, meshErrors } from '#mesh/errors.ts'
import { type Channel, methodsOf } from '#mesh/grpc/client.ts'
import { type Connections, noConnections } from './connections.ts'

/** The most that is waited for a token, in milliseconds: it may have to be refreshed at the provider first. */
const tokenMs = 15_000

/** Without a channel nothing is connected, and nothing can be. */
export function grpcConnections(channel: Channel | undefined): Connections {
  if (channel === undefined) return noConnections
  const oauth = methodsOf(OAuthServiceService, channel)
  return {
    async find({ workspace, actor, provider }, context) {
      const { configured, missing, connection, authorizePath } = await oauth
        .getConnection({ owner: { workspace, actor, provider } }, context)
        .catch((cause: unknown) => {
          // None of its refusals is a caller's: whatever it was, nothing is known of the connection now.
          throw meshErrors.DEPENDENCY_UNAVAILABLE({ cause, retryAfterMs: 1000 })
        })
      if (!configured) return { configured, missing }
      if (connection === undefined) return { configured, connection, authorizePath }
      const { connectionId, account, scopes, status, reason } = connection
      // A newer service may know states that this code does not: none of them can act.
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
        // Its own refusals (connect anew, another connection now) are answers; all else is not knowing.
        if (cause instanceof MeshError && cause.domain === 'oauth') throw cause
        throw meshErrors.DEPENDENCY_UNAVAILABLE({ cause, retryAfterMs: 1000 })
      }
    },
  }
}
