/** Who a process believes and who it says it is, from configuration: one key and one shared secret, until there is an access service. */
import { type Config, secret, text } from './config.ts'
import { type PeerToken, type Verifier, staticPeerToken, staticVerifier } from './grpc/caller.ts'

export const identityVariables = {
  staticKey: secret('RELAY_STATIC_KEY', 'The one API key that callers sign in with'),
  staticWorkspace: text('RELAY_STATIC_WORKSPACE', 'The workspace of that key', { default: 'default' }),
  staticActor: text('RELAY_STATIC_ACTOR', 'Who acts with that key', { default: 'static-key' }),
  peerSecret: secret('MESH_PEER_SECRET', 'Shared by the services of one mesh, never by callers'),
}

/** Shorter secrets can be guessed. */
const leastLength = 24

export interface Identity {
  verifier: Verifier
  peerToken: PeerToken
}

export function identity(name: string, config: Config<typeof identityVariables>): Identity {
  const [key, peerSecret] = [config.staticKey.reveal(), config.peerSecret.reveal()]
  for (const [variable, value] of Object.entries({ RELAY_STATIC_KEY: key, MESH_PEER_SECRET: peerSecret })) {
    if (value.length < leastLength) throw new Error(`${variable} is shorter than ${leastLength} characters`)
  }
  if (key === peerSecret) throw new Error('MESH_PEER_SECRET is RELAY_STATIC_KEY: whoever has the key could pose as a service')
  return {
    verifier: staticVerifier({ key, workspace: config.staticWorkspace, actor: config.staticActor, peerSecret }),
    peerToken: staticPeerToken(name, peerSecret),
  }
}
