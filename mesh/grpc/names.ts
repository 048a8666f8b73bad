/**
 * Finds the replicas behind a name, and looks again as time goes on: one that was added gets calls, one that was removed gets none.
 * grpc-js's own resolver looks again only after a connection was lost.
 */
import { lookup as lookUp } from 'node:dns/promises'
import { type ChannelOptions, experimental, Metadata, status } from '@grpc/grpc-js'
import { runDetached } from '../telemetry/scope.ts'

/** The addresses that a name has now, as IPv4 or IPv6. Rejects where that cannot be said. */
export type Lookup = (host: string) => Promise<string[]>

export interface NamesOptions {
  lookup?: Lookup
  /** Between two look-ups, in milliseconds. */
  intervalMs?: number
}

const byOperatingSystem: Lookup = async (host) => (await lookUp(host, { all: true })).map(({ address }) => address)
const defaultIntervalMs = 10_000
/** A connection that is lost is a reason to look at once, but not more often than this. */
const minIntervalMs = 1000

const scheme = 'mesh'
const optionsKey = 'relay.names'

/** What a channel is made with for a name and a port. */
export const byName = (hostAndPort: string, options: NamesOptions = {}): { target: string; options: ChannelOptions } => ({
  target: `${scheme}:${hostAndPort}`,
  options: { [optionsKey]: options },
})

class NameResolver implements experimental.Resolver {
  readonly #host: string
  readonly #port: number
  readonly #listener: experimental.ResolverListener
  readonly #lookup: Lookup
  readonly #intervalMs: number
  #timer: NodeJS.Timeout | undefined
  #looking = false
  #lookedAt = -Infinity
  /** What was found last, to tell when it changes; empty before. */
  #found = ''
  #destroyed = false

  static getDefaultAuthority({ path }: experimental.GrpcUri): string {
    return path
  }

  constructor({ path }: experimental.GrpcUri, listener: experimental.ResolverListener, options: ChannelOptions) {
    const hostPort = experimental.splitHostPort(path)
    if (hostPort?.port === undefined) throw new Error(`${path} is not host:port`)
    const { lookup = byOperatingSystem, intervalMs = defaultIntervalMs } = options[optionsKey] as NamesOptions
    this.#host = hostPort.host
    this.#port = hostPort.port
    this.#listener = listener
    this.#lookup = lookup
    this.#intervalMs = intervalMs
  }

  updateResolution(): void {
    this.#destroyed = false
    const sinceMs = performance.now() - this.#lookedAt
    this.#lookAfter(Math.min(this.#intervalMs, Math.max(0, minIntervalMs - sinceMs)))
  }

  destroy(): void {
    this.#destroyed = true
    this.#found = ''
    clearTimeout(this.#timer)
  }

  #lookAfter(ms: number): void {
    // The look-up under way goes on to the next one by itself.
    if (this.#looking) return
    clearTimeout(this.#timer)
    // Of no request, whichever it was that made the channel look.
    this.#timer = setTimeout(
      runDetached(() => void this.#look()),
      ms,
    )
    this.#timer.unref()
  }

  async #look(): Promise<void> {
    this.#looking = true
    const endpoints = await this.#endpoints()
    this.#looking = false
    this.#lookedAt = performance.now()
    if (this.#destroyed) return
    this.#report(endpoints)
    this.#lookAfter(this.#intervalMs)
  }

  /** Undefined where nothing could be found: what was found before then still stands. */
  async #endpoints(): Promise<experimental.Endpoint[] | undefined> {
    try {
      const addresses = [...new Set(await this.#lookup(this.#host))].sort()
      if (addresses.length === 0) return undefined
      return addresses.map((host) => ({ addresses: [{ host, port: this.#port }] }))
    } catch {
      return undefined
    }
  }

  #report(endpoints: experimental.Endpoint[] | undefined): void {
    if (endpoints === undefined) {
      const details = `${this.#host} has no address`
      if (this.#found === '') {
        this.#listener(experimental.statusOrFromError({ code: status.UNAVAILABLE, details, metadata: new Metadata() }), {}, null, '')
      }
      return
    }
    const found = endpoints.map(experimental.endpointToString).join()
    if (found === this.#found) return
    this.#found = found
    this.#listener(experimental.statusOrFromValue(endpoints), {}, null, '')
  }
}

experimental.registerResolver(scheme, NameResolver)
