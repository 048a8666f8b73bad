/** A limit per remote address, before authentication: it keeps one network from guessing keys or filling the gateway. */
import ipaddr from 'ipaddr.js'
import { TokenBuckets, untilOne } from './token-bucket.ts'

export interface AddressLimiterParts {
  perMinute: number
  /** Maximum number of addresses in memory; the one unseen for longest is forgotten. */
  max?: number
  /** A monotonic clock, in milliseconds. */
  now?: () => number
}

const minuteMs = 60_000

export class AddressLimiter {
  readonly #rate
  readonly #buckets: TokenBuckets
  readonly #now: () => number

  constructor(parts: AddressLimiterParts) {
    this.#rate = { capacity: parts.perMinute, refillMs: minuteMs }
    this.#buckets = new TokenBuckets(parts.max ?? 50_000)
    this.#now = parts.now ?? (() => performance.now())
  }

  /** 0 if the address may make another request, or the time until it may, in milliseconds. */
  take(address: string): number {
    const [key, now] = [networkOf(address), this.#now()]
    return this.#buckets.take(key, this.#rate, now, 1) === 1 ? 0 : this.#untilOne(key, now)
  }

  /** The same, without counting: for a limit on failures, which counts a request once it has failed. */
  look(address: string): number {
    const [key, now] = [networkOf(address), this.#now()]
    return this.#buckets.available(key, this.#rate, now) >= 1 ? 0 : this.#untilOne(key, now)
  }

  #untilOne(key: string, now: number): number {
    return Math.max(1, Math.ceil(untilOne(this.#buckets.fullAt(key), this.#rate, now)))
  }
}

/**
 * The key of an address: an IPv4 address itself, and the first 64 bits of an IPv6 address, all of which one subscriber has (RFC 6177). An
 * IPv4-mapped address is its IPv4 address.
 */
export function networkOf(address: string): string {
  const first = firstBitsOf(address)
  return typeof first === 'string' ? first : Buffer.from(first).toString('hex')
}

/** The same for people: for IPv6 the first address of the network, e.g. `2001:db8:1:2::`. */
export function networkAddressOf(address: string): string {
  const first = firstBitsOf(address)
  return typeof first === 'string' ? first : ipaddr.fromByteArray([...first, ...Buffer.alloc(8)]).toString()
}

/** The first 64 bits of an IPv6 address; any other address unchanged. */
function firstBitsOf(address: string): string | number[] {
  if (!address.includes(':') || !ipaddr.isValid(address)) return address
  const parsed = ipaddr.process(address)
  return parsed.kind() === 'ipv4' ? parsed.toString() : parsed.toByteArray().slice(0, 8)
}
