/** Who the processes are to each other: an Ed25519 key a service, and the file that tells all of them the public halves. */
import { join } from 'node:path'
import { privateKeyOf, xOf } from '#mesh/identity/ed25519.ts'
import { storedSecret, writePrivate } from './state-dir.ts'

/** The seed of a service's key, base64url: 32 random bytes, which all of its replicas share. */
export const identityKey = (folder: string, service: string): string => storedSecret(folder, `identity ${service}`)

/** Writes the public keys of the services to the folder, for MESH_PEERS_FILE, and returns the file. */
export function writePeers(folder: string, services: readonly string[]): string {
  const file = join(folder, 'peers.json')
  const peers = Object.fromEntries(services.map((service) => [service, [xOf(privateKeyOf(identityKey(folder, service)))]]))
  writePrivate(file, `${JSON.stringify(peers, null, 2)}\n`)
  return file
}
