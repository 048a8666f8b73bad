/** The gRPC ports of a running mesh, as callers with a token and as services see them. */
import { AccessServiceService, type ExchangeResponse } from '#gen/relay/access/v1/access.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import type { PeerToken } from '#mesh/grpc/caller.ts'
import { Channel, methodsOf } from '#mesh/grpc/client.ts'
import { privateKeyOf } from '#mesh/identity/ed25519.ts'
import { peerTokenOf } from '#mesh/identity/peer-tokens.ts'
import { identityKey } from '../../deploy/local/state/identities.ts'
import type { Mesh, ServiceName } from '../../deploy/local/mesh.ts'

/** Proves the name of a service of the mesh, with its own key. */
export const peerTokenIn = (mesh: Mesh, name: ServiceName | 'gateway'): PeerToken =>
  peerTokenOf(name, privateKeyOf(identityKey(mesh.folder, name)))

/** Uses a service's port, as a service where a peer token is given, and closes it. */
export async function atPort<T>(
  mesh: Mesh,
  service: ServiceName,
  use: (channel: Channel) => Promise<T>,
  peerToken?: PeerToken,
): Promise<T> {
  const address = mesh.services[service]!.grpc
  const channel = new Channel({ address, ...(peerToken !== undefined && { peerToken }) })
  try {
    return await use(channel)
  } finally {
    channel.close()
  }
}

/** What an internal service does once: its key for a token that every service believes. */
export const exchange = (mesh: Mesh, apiKey: string): Promise<ExchangeResponse> =>
  atPort(mesh, 'access', (channel) => methodsOf(AccessServiceService, channel).exchange({ apiKey }, ownContext()))
