/**
 * Finds the replicas behind a name, and resolves it again periodically: an added replica gets calls, a removed one gets none. grpc-js's own
 * resolver resolves again only after it lost a connection.
 */
import { lookup as lookUp } from 'node:dns/promises'
import { type ChannelOptions, experimental, Metadata, status } from '@grpc/grpc-js'
import { runDetached } from '../telemetry/scope.ts'

/** The current addresses of a name, IPv4 or IPv6. Rejects if they are unknown. */
export type Lookup = (host: string) => Promise<string[]>

export interface NamesOptions {
  lookup?: Lookup
  /** The interval between look-ups, in milliseconds. */
  intervalMs?: number
}

const byOperatingSystem: Lookup = async (host) => (await lookUp(host, { all: true })).map(({ address }) => address)
const defaultIntervalMs = 10_000
/** A lost connection triggers a look-up at once, but at most this often. */
const minIntervalMs = 1000

const scheme = 'mesh'
const optionsKey = 'relay.names'

/** What a channel is created with for a name and a port. */
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
  /** The last result, to detect changes; empty before the first. */
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
    // The look-up in progress schedules the next one.
    if (this.#looking) return
    clearTimeout(this.#timer)
    // It belongs to no request, whichever request made the channel resolve.
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

  /** Undefined if nothing was found: the previous result stays valid. */
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
