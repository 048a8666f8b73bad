/**
 * Several pools of connections to one database, so that one kind of work cannot take the connections of another: callers who read large
 * rows wait for each other, and never delay the renewal of a lease.
 */
import type { PoolClient } from 'pg'
import { Database, type DatabaseParts } from './database.ts'
import { Silence } from './silence.ts'

/** A part of the connections, above 0 and below 1, by the name of its pool. */
type Shares<Name extends string> = Readonly<Record<Name, number>>

/** One database under several names, each with its own connections; `main` has those that no share takes. */
export type Pools<Name extends string> = Readonly<Record<Name | 'main', Database>> & { close(): Promise<void> }

/** `connections` is the total. */
export function openPools<const Name extends string>({ connections = 10, ...parts }: DatabaseParts, shares: Shares<Name>): Pools<Name> {
  // One server: the pools share what they know of it.
  const silence = new Silence<PoolClient>()
  const sizes = Object.entries(splitConnections(connections, shares))
  const pools = Object.fromEntries(sizes.map(([name, size]) => [name, new Database({ ...parts, name, connections: size, silence })]))
  const close = async () => void (await Promise.all(Object.values(pools).map((each) => each.close())))
  return { ...(pools as Record<Name | 'main', Database>), close }
}

/** At least one each, even if that exceeds the total. */
export function splitConnections<Name extends string>(connections: number, shares: Shares<Name>): Record<Name | 'main', number> {
  const names = Object.keys(shares) as Name[]
  const sizes = names.map((name) => Math.max(1, Math.round(connections * shares[name])))
  const main = Math.max(1, connections - sizes.reduce((sum, each) => sum + each, 0))
  return { main, ...Object.fromEntries(names.map((name, index) => [name, sizes[index]!])) } as Record<Name | 'main', number>
}
