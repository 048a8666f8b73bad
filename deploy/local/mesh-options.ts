/** The options of a local mesh. */
import type { ProcessName } from '../services.ts'

export interface MeshOptions {
  /** Where secrets, ports, logs and data are kept; two meshes never share one. */
  folder: string
  /** Without one, limits are counted in process. */
  redisUrl?: string | undefined
  /** A Postgres to use instead of our own, as a role that may create roles and databases. */
  databaseUrl?: string | undefined
  /** Begins the names of the databases there; "relay" when unset. */
  databasePrefix?: string | undefined
  /** False makes our own Postgres fast and forgetful: for tests. */
  durable?: boolean | undefined
  /** Variables for all processes, over the defaults but under what connects the mesh. */
  env?: Readonly<Record<string, string | undefined>> | undefined
  /** The gateway's port when it is free; without one, or when it is taken, the one it had last or any free one. */
  gatewayPort?: number | undefined
  /** How many processes of a service or of the gateway; 1 when unset. */
  replicas?: Partial<Record<ProcessName, number>> | undefined
  /** Changes what a process ("actions", "actions-2" …) is told: for tests that stand in between. */
  adjustEnv?: ((process: string, env: Readonly<Record<string, string>>) => Promise<Record<string, string>>) | undefined
  /** Also starts the sandbox, in the place of the real providers. */
  sandbox?: boolean | undefined
  /** Hears what is done, line by line. */
  log?: ((line: string) => void) | undefined
  /** Called when something died too often to go on. */
  onFailure?: ((error: Error) => void) | undefined
  /** Called whenever a process has started, again or for the first time. */
  onStart?: (() => void) | undefined
  /** Given up between two steps of the start. */
  signal?: AbortSignal | undefined
  /** Where the processes' sources are, instead of this checkout. */
  root?: string | undefined
}
