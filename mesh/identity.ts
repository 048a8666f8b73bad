/**
 * Who a process says it is, and whom it believes:
 *
 *   const own = identity('idempotency', config)
 *   const verifier = followAccess(runtime, own, { address: config.accessAddress })
 *
 * Services are told by a key of their own (or by certificates, where they are configured), callers by tokens that access signs.
 */
import type { KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { AccessServiceService } from '#gen/relay/access/v1/access.ts'
import { type Config, ConfigError, type Variable, optional, secret, text } from './config.ts'
import { ownContext } from './grpc/call.ts'
import type { PeerToken, Verifier } from './grpc/caller.ts'
import { Channel, methodsOf } from './grpc/client.ts'
import { type Tls, openTls } from './grpc/tls.ts'
import { privateKeyOf, xOf } from './identity/ed25519.ts'
import { AccessFeed } from './identity/follow.ts'
import { type PeerKeys, PeerTokens, peerTokenOf } from './identity/peer-tokens.ts'
import type { Runtime } from './serve.ts'

/** Public keys by service, from a file that every process has. */
const peersFile: Variable<PeerKeys> = {
  name: 'MESH_PEERS_FILE',
  doc: 'The public keys of every service, as JSON {"<service>": ["<Ed25519 key as base64url>", …], …}; several while one is exchanged',
  fallback: 'required',
  parse: (file) => {
    if (file === undefined) throw new Error('is not set')
    return parsePeers(readFileSync(file, 'utf8'))
  },
}

export const identityVariables = {
  identityKey: secret('MESH_IDENTITY_KEY', 'The key that proves the name of this service: 32 random bytes as base64url, its own alone'),
  peers: peersFile,
  trustDomain: text('MESH_TRUST_DOMAIN', 'The domain of the names in certificates: spiffe://<domain>/<service>', { default: 'relay' }),
  tlsCa: optional(text('MESH_TLS_CA', 'The CA of the mesh, a PEM file; with it and the next two, services speak mTLS to each other')),
  tlsCert: optional(text('MESH_TLS_CERT', 'The certificate of this service, a PEM file')),
  tlsKey: optional(text('MESH_TLS_KEY', 'The key of that certificate, a PEM file')),
}

/** Every process but access itself follows it. */
export const accessVariables = {
  accessAddress: text('ACCESS_ADDR', 'The access service, as host:port; several replicas joined by +'),
}

export interface Identity {
  peers: Pick<Verifier, 'peer'>
  peerToken: PeerToken
  /** Undefined where no certificates are configured. */
  tls: Tls | undefined
}

/** Throws ConfigError for what no process should start with. */
export function identity(name: string, config: Config<typeof identityVariables>): Identity {
  const key = understood('MESH_IDENTITY_KEY', () => privateKeyOf(config.identityKey.reveal()))
  const peers = understood('MESH_PEERS_FILE', () => new PeerTokens({ audience: name, peers: config.peers }))
  if (!listed(config.peers, name, key)) throw new ConfigError(`MESH_PEERS_FILE does not list this key for ${name}`)
  return { peers, peerToken: peerTokenOf(name, key), tls: openTls(name, config) }
}

/** A verifier that access keeps up to date. */
export interface Following extends Verifier {
  /** The channel that it follows over: for whatever else is said to access. */
  readonly access: Channel
}

/** Follows access until the process stops; until it was heard of, callers are answered DEPENDENCY_UNAVAILABLE. */
export function followAccess(runtime: Runtime, { peers, peerToken, tls }: Identity, { address }: { address: string }): Following {
  const { log, metrics } = runtime
  const channel = new Channel({ address, service: 'access', peerToken, tls, metrics })
  const { follow } = methodsOf(AccessServiceService, channel)
  // A reading that fails is followed by the next one soon enough.
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
  return { caller: (token) => feed.tokens.caller(token), peer: (token) => peers.peer(token), access: channel }
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

/** Whose keys are whose. Throws where the text is not what the variable's documentation says. */
export function parsePeers(json: string): PeerKeys {
  let parsed: unknown
  try {
    parsed = JSON.parse(json)
  } catch {
    // Without the parser's words: they show a piece of what may be the wrong file.
    throw new Error('is not JSON')
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) throw new Error('is not a JSON object')
  return new Map(
    Object.entries(parsed).map(([name, keys]) => {
      if (!/^[a-z][a-z0-9-]{0,31}$/.test(name)) throw new Error(`has ${JSON.stringify(name)}, which is no name of a service`)
      if (!Array.isArray(keys) || keys.length === 0 || !keys.every((key) => typeof key === 'string')) {
        throw new Error(`does not give ${name} a list of keys`)
      }
      return [name, keys]
    }),
  )
}
