/** The connections to the services, by the name of their package. */
import { ConfigError } from '#mesh/config.ts'
import { Channel, type ChannelParts } from '#mesh/grpc/client.ts'
import type { Route } from './contract/route-table.ts'

export type Upstreams = ReadonlyMap<string, Channel>

export const connect = (addresses: ReadonlyMap<string, string>, parts: Omit<ChannelParts, 'address' | 'service'>): Upstreams =>
  new Map([...addresses].map(([name, address]) => [name, new Channel({ ...parts, address, service: name })]))

/** Where a service is that the gateway itself speaks to. Throws ConfigError. */
export function addressOf(addresses: ReadonlyMap<string, string>, name: string): string {
  const address = addresses.get(name)
  if (address === undefined) throw new ConfigError(`UPSTREAMS does not say where ${name} is`)
  return address
}

export interface Services {
  readonly upstreams: Upstreams
  /** The names of those that a mesh may be without. */
  readonly optional: readonly string[]
}

/**
 * The channel of a route; undefined where the configuration names no such service and a mesh may be without it. Throws ConfigError where it
 * may not: better at the start than at the first request.
 */
export function channelOf({ upstreams, optional }: Services, route: Route): Channel | undefined {
  const channel = upstreams.get(route.upstream)
  if (channel === undefined && !optional.includes(route.upstream)) {
    throw new ConfigError(`${route.httpMethod} ${route.endpoint} is served by ${route.upstream}, and UPSTREAMS does not say where that is`)
  }
  channel?.expect([route.method])
  return channel
}
