/** The options of a local mesh. */
import type { ProcessName } from '../services.ts'

export interface MeshOptions {
  /** Where secrets, ports, logs and data are kept; two meshes never share one. */
  folder: string
  /** If unset, limits are counted in process. */
  redisUrl?: string | undefined
  /** An existing Postgres, as a role that may create roles and databases. If unset, the mesh starts its own. */
  databaseUrl?: string | undefined
  /** The prefix of the database names there; "relay" if unset. */
  databasePrefix?: string | undefined
  /** False makes the mesh's own Postgres fast and not crash-safe: for tests. */
  durable?: boolean | undefined
  /** Variables for all processes. They override the defaults, but not what connects the mesh. */
  env?: Readonly<Record<string, string | undefined>> | undefined
  /** The gateway's port if it is free. If unset or taken: the port of the last start, or any free one. */
  gatewayPort?: number | undefined
  /** The number of processes per service or gateway; 1 if unset. */
  replicas?: Partial<Record<ProcessName, number>> | undefined
  /** Changes the environment of a process ("actions", "actions-2" …): for tests that put something in between. */
  adjustEnv?: ((process: string, env: Readonly<Record<string, string>>) => Promise<Record<string, string>>) | undefined
  /** Also starts the sandbox in place of the real providers. */
  sandbox?: boolean | undefined
  /** Called with each line of progress. */
  log?: ((line: string) => void) | undefined
  /** Called when a process has died too often to be restarted. */
  onFailure?: ((error: Error) => void) | undefined
  /** Called each time a process has started, for the first time or again. */
  onStart?: (() => void) | undefined
  /** Aborts the start between two steps. */
  signal?: AbortSignal | undefined
  /** The folder of the processes' sources, if not this checkout. */
  root?: string | undefined
}
