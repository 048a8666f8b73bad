/** The addresses and networks from which a key may be used, each in one spelling. Pure. */
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'

/**
 * An address or a CIDR block (RFC 4632, RFC 4291) as `network/prefix` in its canonical spelling (RFC 5952). IPv4 in its IPv6 form
 * (`::ffff:192.0.2.1`) becomes IPv4, as which connections appear. Throws a RangeError whose message follows the field's name.
 */
export function canonicalSource(text: string): string {
  const [, address = '', digits] = /^([^/%]{1,45})(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const version = isIP(address)
  if (version === 0) throw new RangeError('is not an IP address, or a network like 192.0.2.0/24 or 2001:db8::/32')
  const longest = version === 4 ? 32 : 128
  const prefix = digits === undefined ? longest : Number(digits)
  if (prefix > longest) throw new RangeError(`has a prefix longer than ${longest} bits`)
  return version === 4 ? blockOf(ipaddr.IPv4.parse(address), prefix) : blockOf6(address, prefix)
}

/** Whether each block (as canonicalSource writes it) lies within one of the others; always true if there are no others. */
export function sourcesWithin(inner: readonly string[], outer: readonly string[]): boolean {
  if (outer.length === 0) return true
  const around = outer.map((block) => ipaddr.parseCIDR(block))
  return inner.every((block) => {
    const [address, prefix] = ipaddr.parseCIDR(block)
    return around.some(([network, bits]) => network.kind() === address.kind() && bits <= prefix && address.match([network, bits]))
  })
}

function blockOf6(address: string, prefix: number): string {
  // Uses the URL parser, because ipaddr.js reads ::1.2.3.4 (compatible) as ::ffff:1.2.3.4 (mapped).
  const parsed = ipaddr.IPv6.parse(new URL(`http://[${address}]/`).hostname.slice(1, -1))
  return parsed.isIPv4MappedAddress() && prefix >= 96 ? blockOf(parsed.toIPv4Address(), prefix - 96) : blockOf(parsed, prefix)
}

function blockOf(address: ipaddr.IPv4 | ipaddr.IPv6, prefix: number): string {
  const family = address.kind() === 'ipv4' ? ipaddr.IPv4 : ipaddr.IPv6
  const network = family.networkAddressFromCIDR(`${address.toString()}/${prefix}`).toString()
  // 10.0.0.7/8 allows far more than its author may have meant.
  if (network !== address.toString()) throw new RangeError(`has bits beyond its prefix: write ${network}/${prefix}, or a longer prefix`)
  return `${network}/${prefix}`
}
