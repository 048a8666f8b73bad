/** Who a process believes and who it says it is, from configuration: one key and one shared secret, until there is an access service. */
import { type Config, ConfigError, secret, text } from './config.ts'
import { type PeerToken, type Verifier, bearerToken, staticPeerToken, staticVerifier } from './grpc/caller.ts'

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

/** Throws ConfigError for what no process should start with. */
export function identity(name: string, config: Config<typeof identityVariables>): Identity {
  const [key, peerSecret] = [config.staticKey.reveal(), config.peerSecret.reveal()]
  for (const [variable, value] of Object.entries({ RELAY_STATIC_KEY: key, MESH_PEER_SECRET: peerSecret })) {
    if (value.length < leastLength) throw new ConfigError(`${variable} is shorter than ${leastLength} characters`)
  }
  if (bearerToken(`Bearer ${key}`) !== key) {
    throw new ConfigError('RELAY_STATIC_KEY has characters that cannot be sent after Bearer: letters, digits and ._~+/=- can (RFC 6750)')
  }
  if (key === peerSecret) throw new ConfigError('MESH_PEER_SECRET is RELAY_STATIC_KEY: whoever has the key could pose as a service')
  return {
    verifier: staticVerifier({ key, workspace: config.staticWorkspace, actor: config.staticActor, peerSecret }),
    peerToken: staticPeerToken(name, peerSecret),
  }
}
