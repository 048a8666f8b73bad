/**
 * The targets that a request may go to: http or https, and only public addresses. Pure; outgoing.ts resolves names and connects.
 *
 * The host is judged after the WHATWG URL parser, because that is what would be connected to: `127.1`, `0x7f.1`, `2130706433`, full-width
 * digits and percent-encoded hosts all arrive here as 127.0.0.1. A name is rejected here only if it cannot be public; every other name is
 * judged by each address that it resolves to.
 *
 * Sources: the IANA special-purpose address registries (RFC 6890; https://www.iana.org/assignments/iana-ipv4-special-registry and
 * iana-ipv6-special-registry), https://url.spec.whatwg.org/#host-parsing.
 */
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'

type Address = ipaddr.IPv4 | ipaddr.IPv6
export type Cidr = readonly [network: Address, prefixLength: number]

/** The allowed addresses beside public ones. */
export interface TargetPolicy {
  readonly allow: readonly Cidr[]
}

export const publicOnly: TargetPolicy = Object.freeze({ allow: Object.freeze([]) })

/** Parses blocks like `127.0.0.0/8` and `::1/128`. Throws an Error that names the invalid one. */
export function parsePolicy(blocks: readonly string[]): TargetPolicy {
  return Object.freeze({ allow: Object.freeze(blocks.map(parseBlock)) })
}

function parseBlock(text: string): Cidr {
  const [, address = '', digits = ''] = /^([^/%]+)\/(\d{1,3})$/.exec(text) ?? []
  const version = isIP(address)
  if (version === 0) throw new Error(`${JSON.stringify(text)} is not an address block like 127.0.0.0/8 or ::1/128`)
  const longest = version === 4 ? 32 : 128
  if (Number(digits) > longest) throw new Error(`${JSON.stringify(text)} has a prefix longer than ${longest} bits`)
  const family = version === 4 ? ipaddr.IPv4 : ipaddr.IPv6
  const written = canonicalAddress(address)
  const network = family.networkAddressFromCIDR(`${written}/${digits}`)
  // 10.0.0.7/8 allows far more than its author may have meant.
  if (written !== network.toString()) {
    throw new Error(`${JSON.stringify(text)} has bits beyond its prefix: write ${network.toString()}/${digits}, or a longer prefix`)
  }
  return [network, Number(digits)]
}

/** One spelling per address, for comparing. Throws for text that is not an IP address, or has a zone. */
export function canonicalAddress(address: string): string {
  return parseAddress(address).toString()
}

function parseAddress(address: string): Address {
  if (isIP(address) === 4) return ipaddr.IPv4.parse(address)
  // Through the URL parser, because ipaddr.js reads ::1.2.3.4 (compatible) as ::ffff:1.2.3.4 (mapped).
  return ipaddr.IPv6.parse(new URL(`http://[${address}]/`).hostname.slice(1, -1))
}

/**
 * Why a request may not go to this IP address, as what it is ("a loopback address"), or undefined if it may.
 *
 * Addresses that contain an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo) are all rejected rather than judged by what they
 * contain: routers on the way decide where they lead, and no public receiver needs them. A network that reaches IPv4 only through NAT64 can
 * allow `64:ff9b::/96`, and is then responsible for what its translator reaches.
 */
export function checkAddress(address: string, policy: TargetPolicy): string | undefined {
  if (isIP(address) === 0 || address.includes('%')) return 'not a plain IP address'
  const parsed = parseAddress(address)
  if (policy.allow.some((block) => contains(block, parsed))) return undefined
  if (platform.some((block) => contains(block, parsed))) return 'an address of the hosting platform'
  const range = parsed.range()
  if (range !== 'unicast') return kinds[range] ?? 'a reserved address'
  // Only 2000::/3 is allocated as global unicast (RFC 4291, section 2.4); ipaddr.js calls the unassigned rest unicast as well.
  if (parsed.kind() === 'ipv6' && !contains(globalUnicast, parsed)) return 'an address outside of the global unicast range'
  return undefined
}

function contains([network, prefixLength]: Cidr, address: Address): boolean {
  return network.kind() === address.kind() && address.match([network, prefixLength])
}

const globalUnicast: Cidr = ipaddr.parseCIDR('2000::/3')
/** Public in the registry, but answered by the machine below us: Azure's platform address. */
const platform: readonly Cidr[] = [ipaddr.parseCIDR('168.63.129.16/32')]

const kinds: Readonly<Record<string, string>> = {
  unspecified: 'an unspecified address',
  loopback: 'a loopback address',
  private: 'a private address',
  uniqueLocal: 'a private address',
  deprecatedSiteLocal: 'a private address',
  linkLocal: 'a link-local address',
  carrierGradeNat: 'a carrier-grade NAT address',
  multicast: 'a multicast address',
  broadcast: 'a broadcast address',
  benchmarking: 'a benchmarking address',
  ipv4Mapped: 'an IPv4 address inside of an IPv6 one',
  rfc6145: 'an IPv4 address inside of an IPv6 one',
  rfc6052: 'an IPv4 address inside of an IPv6 one',
  '6to4': 'an IPv4 address inside of an IPv6 one',
  teredo: 'an IPv4 address inside of an IPv6 one',
}

export interface Target {
  url: URL
  /** A name, or an address without brackets: what is resolved or connected to. */
  host: string
  port: number
}

const misleading = /[\p{Cc}\p{Cf}\p{Cs}\p{Z}\\]/u

/** Parses a target, or returns a sentence that says why a request may not go there. Never throws. */
export function parseTarget(text: string, policy: TargetPolicy): Target | string {
  // The URL parser silently drops or changes these, so a person would see another address than the one in use.
  if (misleading.test(text)) return 'must hold no spaces, backslashes, control or invisible characters: percent-encode them.'
  const authority = /^https?:\/\/([^/?#]+)/i.exec(text)?.[1]
  if (authority === undefined) return 'must begin with http:// or https:// and a host.'
  if (authority.includes('@')) return 'must hold no user name or password.'
  const url = URL.parse(text)
  if (url === null) return 'is not a valid URL.'
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port)
  if (port === 0) return 'must have a port between 1 and 65535.'
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const refusal = isIP(host) === 0 ? checkName(host, policy) : checkAddress(host, policy)
  return refusal === undefined ? { url, host, port } : `leads to ${refusal}.`
}

/**
 * RFC 6761 (localhost), RFC 6762 (local), RFC 8375 (home.arpa), ICANN's reservation of internal, and common names of a machine for itself.
 */
const privateNames = /(^|\.)(localhost|localdomain|local|internal|home\.arpa)$/

function checkName(name: string, policy: TargetPolicy): string | undefined {
  const bare = name.replace(/\.+$/, '').toLowerCase()
  if (bare === '') return 'no host'
  // If private targets are configured, such a name may be meant: then its addresses decide.
  return policy.allow.length === 0 && privateNames.test(bare) ? 'a name that is never public' : undefined
}
