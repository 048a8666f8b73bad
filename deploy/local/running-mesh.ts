/** A local mesh that runs. */
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
  /** The URLs of all gateways, that one first. */
  readonly gateways: readonly string[]
  /** Where the gateway's own health and metrics are, as host:port. */
  readonly gatewayAdmin: string
  /** An admin's, in the workspace "default". */
  readonly apiKey: string
  /** Whether this start made it; else an earlier one did. */
  readonly apiKeyIsNew: boolean
  /** By name; further replicas are "actions-2" and so on. */
  readonly services: Readonly<Record<string, ServiceState>>
  /** The sandbox's URL, where there is one. */
  readonly sandbox: string | undefined
  readonly folder: string
  /** Our own, where no databaseUrl was given. */
  readonly postgres: Postgres | undefined
  /** One process of the mesh: "gateway", "actions", "actions-2" … */
  process(name: string): MeshProcess
  /** Runs one of the programs for operators, as its service is run. */
  operate(program: OperatorProgram, ...args: string[]): Promise<ProcessExit>
  /** Makes a further key. */
  createKey(request: KeyRequest): Promise<string>
  /** Drains and stops everything in the reverse order of its start. */
  stop(): Promise<void>
}
