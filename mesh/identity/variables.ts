/** The variables of a process's identity, and of the identities that it trusts. */
import { readFileSync } from 'node:fs'
import { type Variable, optional, secret, text } from '../config.ts'
import type { PeerKeys } from './peer-tokens.ts'

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

/** Every process except access itself follows access. */
export const accessVariables = {
  accessAddress: text('ACCESS_ADDR', 'The access service, as host:port; several replicas joined by +'),
}

/** The keys per service. Throws if the text is not what the variable's documentation says. */
export function parsePeers(json: string): PeerKeys {
  let parsed: unknown
  try {
    parsed = JSON.parse(json)
  } catch {
    // Without the parser's message, which shows a piece of what may be the wrong file.
    throw new Error('is not JSON')
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) throw new Error('is not a JSON object')
  return new Map(
    Object.entries(parsed).map(([name, keys]) => {
      if (!/^[a-z][a-z0-9-]{0,31}$/.test(name)) throw new Error(`has ${JSON.stringify(name)}, which is not the name of a service`)
      if (!Array.isArray(keys) || keys.length === 0 || !keys.every((key) => typeof key === 'string')) {
        throw new Error(`does not give ${name} a list of keys`)
      }
      return [name, keys]
    }),
  )
}
