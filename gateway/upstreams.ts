/** The connections to the services, by the name of their package. */
import { ConfigError } from '#mesh/config.ts'
import { Channel, type ChannelParts } from '#mesh/grpc/client.ts'
import type { Route } from './contract/route-table.ts'

export type Upstreams = ReadonlyMap<string, Channel>

export const connect = (addresses: ReadonlyMap<string, string>, parts: Omit<ChannelParts, 'address' | 'service'>): Upstreams =>
  new Map([...addresses].map(([name, address]) => [name, new Channel({ ...parts, address, service: name })]))

/** The address of a service that the gateway itself calls. Throws ConfigError. */
export function addressOf(addresses: ReadonlyMap<string, string>, name: string): string {
  const address = addresses.get(name)
  if (address === undefined) throw new ConfigError(`UPSTREAMS has no address of ${name}`)
  return address
}

export interface Services {
  readonly upstreams: Upstreams
  /** The names of the services that are optional. */
  readonly optional: readonly string[]
}

/**
 * The channel of a route; undefined if the configuration does not name the service and it is optional. Throws ConfigError if it is
 * required, so that the fault shows at the start and not at the first request.
 */
export function channelOf({ upstreams, optional }: Services, route: Route): Channel | undefined {
  const channel = upstreams.get(route.upstream)
  if (channel === undefined && !optional.includes(route.upstream)) {
    throw new ConfigError(`${route.httpMethod} ${route.endpoint} is served by ${route.upstream}, and UPSTREAMS has no address of it`)
  }
  channel?.expect([route.method])
  return channel
}
