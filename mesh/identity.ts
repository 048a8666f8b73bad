/**
 * The identity of a process, and the identities that it trusts:
 *
 *   const own = identity('idempotency', config)
 *   const verifier = followAccess(runtime, own, { address: config.accessAddress })
 *
 * Services are identified by their own key (or by certificates, if configured), callers by tokens that access signs.
 */
import type { KeyObject } from 'node:crypto'
import { AccessServiceService } from '#gen/relay/access/v1/access.ts'
import { type Config, ConfigError } from './config.ts'
import { ownContext } from './grpc/call.ts'
import type { PeerToken, Verifier } from './grpc/caller.ts'
import { Channel, methodsOf } from './grpc/client.ts'
import { type Tls, openTls } from './tls/credentials.ts'
import { privateKeyOf, xOf } from './identity/ed25519.ts'
import { AccessFeed } from './identity/follow.ts'
import { type PeerKeys, PeerTokens, peerTokenOf } from './identity/peer-tokens.ts'
import type { identityVariables } from './identity/variables.ts'
import type { Runtime } from './serve.ts'
import type { SignatureStates } from './signature-states.ts'

export interface Identity {
  peers: Pick<Verifier, 'peer'>
  peerToken: PeerToken
  /** Undefined if no certificates are configured. */
  tls: Tls | undefined
}

/** Throws ConfigError for an unusable configuration. */
export function identity(name: string, config: Config<typeof identityVariables>): Identity {
  const key = understood('MESH_IDENTITY_KEY', () => privateKeyOf(config.identityKey.reveal()))
  const peers = understood('MESH_PEERS_FILE', () => new PeerTokens({ audience: name, peers: config.peers }))
  if (!listed(config.peers, name, key)) throw new ConfigError(`MESH_PEERS_FILE does not list this key for ${name}`)
  return { peers, peerToken: peerTokenOf(name, key), tls: openTls(name, config) }
}

/** A verifier that access keeps up to date. */
export interface AccessFollower extends Verifier {
  /** The channel to access, for other calls as well. */
  readonly access: Channel
  /** Whether an API key that began something earlier is still active. Throws DEPENDENCY_UNAVAILABLE if that is unknown now. */
  readonly isKeyActive: (keyId: string) => boolean
  /** Resolves when the first read is over: everything that access knew was read, or access did not respond. */
  readonly ready: Promise<void>
  /** The valid signature keys. */
  readonly signatures: SignatureStates
}

/** Follows access until the process stops. Until the first read, callers get DEPENDENCY_UNAVAILABLE. */
export function followAccess(runtime: Runtime, { peers, peerToken, tls }: Identity, { address }: { address: string }): AccessFollower {
  const { log, metrics } = runtime
  const channel = new Channel({ address, service: 'access', peerToken, tls, metrics })
  const { follow } = methodsOf(AccessServiceService, channel)
  // The next read follows a failed one soon enough.
  const end = new AbortController()
  const context = () => ({ ...ownContext(), signal: end.signal })
  const feed = new AccessFeed({ follow: (request) => follow(request, context(), { attempts: 1 }), log, metrics })
  runtime.onStop('access channel', () => channel.close())
  runtime.onStop('access feed', () => {
    const stopped = feed.stop()
    end.abort()
    return stopped
  })
  feed.start()
  const { tokens, signatures } = feed
  return {
    caller: (token) => tokens.caller(token),
    peer: (token) => peers.peer(token),
    isKeyActive: (keyId) => feed.keyStands(keyId),
    access: channel,
    ready: feed.firstReading,
    signatures,
  }
}

function listed(peers: PeerKeys, name: string, key: KeyObject): boolean {
  return peers.get(name)?.includes(xOf(key)) === true
}

function understood<T>(variable: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw new ConfigError(`${variable} ${(error as Error).message}`)
  }
}
