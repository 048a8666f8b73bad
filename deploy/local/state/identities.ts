/** The identities of the processes: an Ed25519 key per service, and the file with all public keys. */
import { join } from 'node:path'
import { privateKeyOf, xOf } from '#mesh/identity/ed25519.ts'
import { storedSecret, writePrivate } from './state-dir.ts'

/** The seed of a service's key, base64url: 32 random bytes, shared by all of its replicas. */
export const identityKey = (folder: string, service: string): string => storedSecret(folder, `identity ${service}`)

/** Writes the public keys of the services to the folder, for MESH_PEERS_FILE. Returns the file. */
export function writePeers(folder: string, services: readonly string[]): string {
  const file = join(folder, 'peers.json')
  const peers = Object.fromEntries(services.map((service) => [service, [xOf(privateKeyOf(identityKey(folder, service)))]]))
  writePrivate(file, `${JSON.stringify(peers, null, 2)}\n`)
  return file
}
