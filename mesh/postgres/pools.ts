/**
 * Several pools of connections to one database, so that one kind of work cannot take the connections of another: callers who read what is
 * large wait for each other, and never keep a lease from being renewed.
 */
import type { PoolClient } from 'pg'
import { Database, type DatabaseParts } from './database.ts'
import { Silence } from './silence.ts'

/** A part of the connections, above 0 and below 1, by the name of its pool. */
type Shares<Name extends string> = Readonly<Record<Name, number>>

/** One database under several names, each with connections of its own; `main` has those that no share takes. */
export type Pools<Name extends string> = Readonly<Record<Name | 'main', Database>> & { close(): Promise<void> }

/** `connections` is for all of them together. */
export function openPools<const Name extends string>({ connections = 10, ...parts }: DatabaseParts, shares: Shares<Name>): Pools<Name> {
  // One server: what one pool notices of it, all know.
  const silence = new Silence<PoolClient>()
  const sizes = Object.entries(splitConnections(connections, shares))
  const pools = Object.fromEntries(sizes.map(([name, size]) => [name, new Database({ ...parts, name, connections: size, silence })]))
  const close = async () => void (await Promise.all(Object.values(pools).map((each) => each.close())))
  return { ...(pools as Record<Name | 'main', Database>), close }
}

/** At least one for each, also where that makes more than there were. */
export function splitConnections<Name extends string>(connections: number, shares: Shares<Name>): Record<Name | 'main', number> {
  const names = Object.keys(shares) as Name[]
  const sizes = names.map((name) => Math.max(1, Math.round(connections * shares[name])))
  const main = Math.max(1, connections - sizes.reduce((sum, each) => sum + each, 0))
  return { main, ...Object.fromEntries(names.map((name, index) => [name, sizes[index]!])) } as Record<Name | 'main', number>
}
