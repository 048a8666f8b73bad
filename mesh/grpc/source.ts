/** The source address of a call, as audits and allow-lists have it: an IP address without port, IPv4 wherever it is IPv4. */
import { isIP } from 'node:net'

const mapped = /^::ffff:(?=\d+\.)/i

/** The address in a text, IPv4-mapped IPv6 as IPv4; undefined if there is none. */
export function parseSource(text: string): string | undefined {
  const address = text.replace(mapped, '')
  return isIP(address) === 0 ? undefined : address
}

/** The address of a connection's other end, as grpc-js writes it: `127.0.0.1:50051`, `::1:50051`. */
export const sourceOf = (peer: string): string | undefined => parseSource(peer.slice(0, peer.lastIndexOf(':')))
