/** The addresses that an API key may be used from. Checked at each use of a key or its token. Pure. */
import ipaddr from 'ipaddr.js'

/**
 * Whether an address is in one of the blocks (CIDR, or single addresses). Without blocks, every address is. With blocks, an unknown or
 * invalid address is not, and a block that cannot be parsed contains nothing. IPv4-mapped IPv6 counts as IPv4.
 */
export function mayComeFrom(source: string | undefined, allowed: readonly string[]): boolean {
  if (allowed.length === 0) return true
  if (source === undefined || !ipaddr.isValid(source)) return false
  const address = ipaddr.process(source)
  return allowed.some((block) => {
    try {
      const [network, bits] = block.includes('/') ? ipaddr.parseCIDR(block) : wholeOf(ipaddr.process(block))
      return network.kind() === address.kind() && address.match([network, bits])
    } catch {
      return false
    }
  })
}

const wholeOf = (address: ipaddr.IPv4 | ipaddr.IPv6): [ipaddr.IPv4 | ipaddr.IPv6, number] => [address, address.kind() === 'ipv4' ? 32 : 128]
