/** A limit by remote address, before anybody is authenticated: keeps one machine from guessing keys or filling the gateway. */
import ipaddr from 'ipaddr.js'
import { TokenBuckets, untilOne } from './token-bucket.ts'

export interface AddressLimiterParts {
  perMinute: number
  /** How many addresses are remembered; the one longest unseen gives way. */
  most?: number
  /** A clock that never goes back, in milliseconds. */
  now?: () => number
}

const minuteMs = 60_000

export class AddressLimiter {
  readonly #rate
  readonly #buckets: TokenBuckets
  readonly #now: () => number

  constructor(parts: AddressLimiterParts) {
    this.#rate = { capacity: parts.perMinute, refillMs: minuteMs }
    this.#buckets = new TokenBuckets(parts.most ?? 50_000)
    this.#now = parts.now ?? (() => performance.now())
  }

  /** 0 when the address may make one more request; else how long until it may, in milliseconds. */
  take(address: string): number {
    const [key, now] = [networkOf(address), this.#now()]
    if (this.#buckets.take(key, this.#rate, now, 1) === 1) return 0
    return Math.max(1, Math.ceil(untilOne(this.#buckets.fullAt(key), this.#rate, now)))
  }
}

/**
 * What counts as one address: an IPv4 address; of IPv6 the first 64 bits, all of which one subscriber has (RFC 6177). An IPv4-mapped
 * address is its IPv4 address.
 */
export function networkOf(address: string): string {
  if (!address.includes(':') || !ipaddr.isValid(address)) return address
  const parsed = ipaddr.process(address)
  return parsed.kind() === 'ipv4' ? parsed.toString() : Buffer.from(parsed.toByteArray().slice(0, 8)).toString('hex')
}
