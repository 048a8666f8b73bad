/** The interface of a running local mesh. */
import type { OperatorProgram } from '../services.ts'
import type { Postgres } from './postgres/server.ts'
import type { MeshProcess } from './processes/child.ts'
import type { ProcessExit } from './processes/node-process.ts'
import type { KeyRequest } from './state/keys.ts'

export interface ServiceState {
  grpc: string
  admin: string
  pid: number
}

export interface Mesh {
  /** The gateway's URL. */
  readonly gateway: string
  /** The URLs of all gateways, the one above first. */
  readonly gateways: readonly string[]
  /** The address of the gateway's admin port, as host:port. */
  readonly gatewayAdmin: string
  /** An administrator's key in the workspace "default". */
  readonly apiKey: string
  /** Whether this start created the key, and not an earlier one. */
  readonly apiKeyIsNew: boolean
  /** By name; further replicas are "actions-2" and so on. */
  readonly services: Readonly<Record<string, ServiceState>>
  /** The sandbox's URL, if there is a sandbox. */
  readonly sandbox: string | undefined
  readonly folder: string
  /** The mesh's own Postgres, unless a databaseUrl was given. */
  readonly postgres: Postgres | undefined
  /** One process of the mesh: "gateway", "actions", "actions-2" … */
  process(name: string): MeshProcess
  /** Runs an operator program with the environment of its service. */
  operate(program: OperatorProgram, ...args: string[]): Promise<ProcessExit>
  /** Creates another key. */
  createKey(request: KeyRequest): Promise<string>
  /** Drains and stops everything in reverse start order. */
  stop(): Promise<void>
}
