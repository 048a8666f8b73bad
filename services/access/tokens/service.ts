/** relay.access.v1.AccessService: the exchange, and the feed that verifiers follow. */
import {
  AccessServiceService,
  type ExchangeRequest,
  type ExchangeResponse,
  type FollowRequest,
  type FollowResponse,
} from '#gen/relay/access/v1/access.ts'
import type { Context } from '#mesh/grpc/call.ts'
import { isService } from '#mesh/grpc/caller.ts'
import { type BoundServer, served } from '#mesh/grpc/server.ts'
import { parseSource } from '#mesh/grpc/source.ts'
import { annotate } from '#mesh/telemetry/scope.ts'
import type { Exchange } from './exchange.ts'
import type { Feed } from './feed.ts'

export function accessService({ exchange, feed }: { exchange: Exchange; feed: Feed }): BoundServer {
  const response = localExchange(exchange)
  return served(AccessServiceService, {
    exchange(request, call) {
      const { requestId, trace, peer } = call
      // Only a service of the mesh may name another address.
      const believed = peer !== undefined && isService(peer) && request.source !== undefined
      const source = believed ? parseSource(request.source!) : call.source
      return response(request, { requestId, trace, source })
    },

    follow: localFollow(feed),
  })
}

/** The exchange in the contract's messages, for use within this process. */
export const localExchange =
  (exchange: Exchange) =>
  async ({ apiKey }: ExchangeRequest, context: Context): Promise<ExchangeResponse> => {
    const { token, expiresAt, expiresInMs, key } = await exchange(apiKey, context)
    const { workspace, actor, keyId, permissions, allowedSources } = key
    annotate({ workspace })
    return {
      token,
      expiresAt: expiresAt.toISOString(),
      expiresInMs,
      workspace,
      actor,
      keyId,
      permissions: [...permissions],
      allowedSources: [...allowedSources],
    }
  }

/** The feed in the contract's messages, for use within this process. */
export const localFollow =
  (feed: Feed) =>
  async ({ after, signaturesAfter }: FollowRequest): Promise<FollowResponse> => {
    const { signingKeys, revocations, sequence, signatures } = await feed({ revocations: after, signatures: signaturesAfter })
    return {
      signingKeys: signingKeys.map(({ kid, x }) => ({ kid, x })),
      revocations: revocations.map((each) => ({ ...each, notAfter: each.notAfter.toISOString() })),
      sequence,
      signatures: {
        ...signatures,
        states: signatures.states.map(({ previous, ...state }) => ({ ...state, previousGeneration: previous })),
      },
    }
  }
