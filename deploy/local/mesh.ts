/**
 * The whole mesh on the loopback address, as separate processes, with its own Postgres unless one is given. `make up` and the journeys
 * under test/ use it.
 */
import { realpathSync } from 'node:fs'
import { join } from 'node:path'
import {
  addressVariable,
  needsOf,
  serviceNames,
  serviceOf,
  startOrder,
  withDatabase,
  processNames,
  type OperatorProgram,
  type ProcessName,
  type ServiceName,
} from '../services.ts'
import { migrationVariable } from '../migration-variables.ts'
import type { MeshProcess } from './processes/child.ts'
import { databaseServer } from './postgres/database-server.ts'
import { createDatabases, type DatabaseServer, type DatabaseUrls } from './postgres/databases.ts'
import { environment } from './environment.ts'
import { isFree, storedPort, portOrAny, prepareHome, reservePort, takeLock } from './state/state-dir.ts'
import { writePeers } from './state/identities.ts'
import { adminKey, createKey, usableAdminKey, type AdminKey, type KeyRequest } from './state/keys.ts'
import type { MeshOptions } from './mesh-options.ts'
import { fillCompileCache, runNode, type ProcessExit } from './processes/node-process.ts'
import { ownVariables, writeProgramVariables } from './own-variables.ts'
import type { Postgres } from './postgres/server.ts'
import { Processes } from './processes/mesh-processes.ts'
import { waitForExit } from './processes/pid-file.ts'
import type { Mesh, ServiceState } from './running-mesh.ts'
import { sandboxEnvironment } from './sandbox.ts'
import { all, type ProgressLog } from './processes/steps.ts'

export type { MeshOptions } from './mesh-options.ts'
export type { Mesh } from './running-mesh.ts'
export type { ServiceName } from '../services.ts'

type Variables = Record<string, string>

const mainOf = (name: ProcessName): string => (name === 'gateway' ? 'gateway/main.ts' : `services/${name}/main.ts`)
const sandboxMain = 'deploy/sandbox/main.ts'
const checkout = join(import.meta.dirname, '../..')

/** Starts everything, or throws and leaves nothing running. InUseError: another launcher uses this folder. */
export async function startMesh(options: MeshOptions): Promise<Mesh> {
  prepareHome(options.folder)
  const mesh = new LocalMesh({ ...options, folder: realpathSync(options.folder) })
  try {
    await mesh.start()
  } catch (error) {
    await mesh.stop()
    throw error
  }
  return mesh
}

class LocalMesh implements Mesh {
  readonly folder: string
  readonly #options: MeshOptions
  readonly #root: string
  readonly #log: ProgressLog
  readonly #lock: ReturnType<typeof takeLock>
  readonly #processes: Processes
  readonly #peersFile: string
  /** The variables of one service alone, which its operator programs get too. */
  readonly #own = new Map<ServiceName, Variables>()
  #postgres: Postgres | undefined
  #admin: AdminKey = { key: '', isNew: false }
  #stopping: Promise<void> | undefined

  constructor(options: MeshOptions) {
    const { folder, root = checkout, log = () => undefined, onStart = () => undefined } = options
    this.folder = folder
    this.#options = options
    this.#root = root
    this.#log = log
    this.#lock = takeLock(join(folder, 'lock'))
    this.#processes = new Processes({ folder, root, say: log, onStart, onFailure: (error) => this.#fail(error) })
    this.#peersFile = writePeers(folder, processNames)
  }

  get gateway(): string {
    return this.gateways[0]!
  }

  get gateways(): readonly string[] {
    return this.#namesOf('gateway').map((name) => `http://${this.process(name).listening.http}`)
  }

  get gatewayAdmin(): string {
    return this.process('gateway').listening.admin ?? ''
  }

  get sandbox(): string | undefined {
    const http = this.#processes.find('sandbox')?.listening.http
    return http === undefined ? undefined : `http://${http}`
  }

  get apiKey(): string {
    return this.#admin.key
  }

  get apiKeyIsNew(): boolean {
    return this.#admin.isNew
  }

  get postgres(): Postgres | undefined {
    return this.#postgres
  }

  get services(): Record<string, ServiceState> {
    const names = serviceNames.flatMap((service) => this.#namesOf(service)).sort()
    const state = ({ listening: { grpc = '', admin = '' }, pid }: MeshProcess): ServiceState => ({ grpc, admin, pid })
    return Object.fromEntries(names.map((name) => [name, state(this.process(name))]))
  }

  process(name: string): MeshProcess {
    return this.#processes.get(name)
  }

  operate(program: OperatorProgram, ...args: string[]): Promise<ProcessExit> {
    const service = serviceOf(program)
    const main = join(this.#root, `services/${service}/${program}.cli.ts`)
    return runNode([main, ...args], { ...this.#environmentOf(service), ...this.#own.get(service) })
  }

  createKey(request: KeyRequest): Promise<string> {
    return createKey(this.#relayAccess, request)
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stopAll()
    return this.#stopping
  }

  async start(): Promise<void> {
    await waitForExit(this.folder, this.#log)
    const { sandbox, gatewayPort } = this.#options
    const mains = [...processNames.map(mainOf), ...(sandbox === true ? [sandboxMain] : [])]
    await fillCompileCache(mains.map((main) => join(this.#root, main)))
    const { server, own } = await databaseServer(this.#options, this.#log, (error) => this.#fail(error))
    this.#postgres = own
    // Providers redirect browsers to this port, so the oauth service and the sandbox must know it before the gateway listens.
    const reserved = await reservePort(
      gatewayPort !== undefined && (await isFree(gatewayPort)) ? gatewayPort : storedPort(this.folder, 'gateway.http'),
    )
    try {
      await this.#startAll(server, reserved)
    } finally {
      await reserved.release()
    }
  }

  /** Each service starts as soon as its database exists and the services that it calls listen. */
  async #startAll(server: DatabaseServer, reserved: Awaited<ReturnType<typeof reservePort>>): Promise<void> {
    const { redisUrl, env: given = {}, databasePrefix = 'relay', signal } = this.#options
    const publicUrl = given.PUBLIC_URL || `http://127.0.0.1:${reserved.port}`
    const databases = createDatabases(server, databasePrefix)
    const sandbox = this.#startSandbox(publicUrl)
    const listening = new Map<ServiceName, Promise<string>>()
    const connections = async (name: ProcessName): Promise<Variables> => ({
      ...(await this.#addressesFor(name, listening)),
      ...(needsOf(name).redis && redisUrl !== undefined ? { REDIS_URL: redisUrl } : {}),
    })
    const start = async (name: ServiceName): Promise<string> => {
      const toSandbox = needsOf(name).providers ? await sandbox : {}
      const database = (await databases.get(name)) ?? {}
      const hasSandbox = 'RELAY_SANDBOX' in toSandbox
      const own = ownVariables(name, { folder: this.folder, root: this.#root, database, publicUrl, hasSandbox, given })
      this.#own.set(name, own)
      writeProgramVariables(name, this.folder, { ...this.#environmentOf(name), ...own })
      return this.#startService(name, { ...(await connections(name)), ...toSandbox, ...own })
    }
    for (const name of startOrder().flat()) if (name !== 'gateway') listening.set(name, start(name))
    const storedKey = listening.get('access')!.then(() => adminKey(this.folder, this.#relayAccess))
    // A service waits for its tables. Those of access are the first: every other service waits for access.
    const [first, ...others] = withDatabase.map((name) => [name, databases.get(name)!] as const)
    await all([...listening.values(), sandbox, storedKey, this.#migrate([first!]), this.#migrate(others)])

    signal?.throwIfAborted()
    await reserved.release()
    await this.#startGateway(await connections('gateway'), reserved.port)
    await this.#admit(await storedKey)
  }

  /** The variables that tell a process where the services that it calls listen. */
  async #addressesFor(name: ProcessName, listening: ReadonlyMap<ServiceName, Promise<string>>): Promise<Variables> {
    const { calls } = needsOf(name)
    const addresses = await Promise.all(calls.map(async (called) => [called, await listening.get(called)!] as const))
    if (name !== 'gateway') return Object.fromEntries(addresses.map(([called, address]) => [addressVariable(called), address]))
    const upstreams = addresses.map(([called, address]) => `${called}=${address}`).toSorted()
    return { UPSTREAMS: upstreams.join(','), ACCESS_ADDR: await listening.get('access')! }
  }

  /** Runs relay-migrate, as an operator does before a release. */
  async #migrate(databases: readonly (readonly [service: ServiceName, urls: Promise<DatabaseUrls>])[]): Promise<void> {
    const urls = await Promise.all(databases.map(async ([service, created]) => [migrationVariable(service), (await created).owner]))
    const { code, stderr } = await runNode([join(this.#root, 'deploy/relay-migrate.ts'), 'run'], Object.fromEntries(urls) as Variables)
    if (code !== 0) throw new Error(`relay-migrate failed:\n${stderr}`)
  }

  /** "actions", "actions-2" … */
  #namesOf(process: ProcessName): string[] {
    const nameOf = (index: number): string => (index === 0 ? process : `${process}-${index + 1}`)
    return Array.from({ length: this.#options.replicas?.[process] ?? 1 }, (_, index) => nameOf(index))
  }

  /** Starts all replicas of a service. Resolves to their addresses, in the form that clients use. */
  async #startService(service: ServiceName, told: Variables): Promise<string> {
    this.#options.signal?.throwIfAborted()
    const launch = async (name: string) => ({
      name,
      main: mainOf(service),
      env: await this.#environmentIn(name, service, { MIGRATE_ON_START: 'false', ...told }),
    })
    const started = await this.#processes.start(await Promise.all(this.#namesOf(service).map(launch)))
    return started.map(({ listening }) => listening.grpc).join('+')
  }

  /** Resolves to the variables for processes that call the sandbox. It keeps its port, because they get it at their start. */
  async #startSandbox(publicUrl: string): Promise<Variables> {
    const { sandbox, env: given = {} } = this.#options
    if (sandbox !== true) return {}
    const env = sandboxEnvironment(this.folder, publicUrl, given)
    const httpPort = await portOrAny(storedPort(this.folder, 'sandbox.http'))
    await this.#processes.start([{ name: 'sandbox', main: sandboxMain, env, httpPort }])
    return { RELAY_SANDBOX: this.sandbox! }
  }

  async #startGateway(told: Variables, httpPort: number): Promise<void> {
    const launch = async (name: string) => ({
      name,
      main: mainOf('gateway'),
      env: await this.#environmentIn(name, 'gateway', told),
      httpPort: name === 'gateway' ? httpPort : await portOrAny(storedPort(this.folder, `${name}.http`)),
    })
    await this.#processes.start(await Promise.all(this.#namesOf('gateway').map(launch)))
    const { gatewayPort: wanted } = this.#options
    const got = this.process('gateway').listening.http?.split(':').at(-1)
    if (wanted !== undefined && got !== String(wanted)) this.#log(`port ${wanted} is taken: the gateway takes ${got} instead`)
  }

  /** Ensures that the administrator's key is valid. */
  async #admit(kept: AdminKey): Promise<void> {
    this.#admin = await usableAdminKey(kept, this.folder, this.#relayAccess, this.gateway)
    if (this.apiKey === kept.key) return
    this.#log('access does not accept the stored API key (another database, or it has expired): created a new one')
  }

  async #stopAll(): Promise<void> {
    // Access stops last of the services, because it takes the audit events of the others.
    for (const group of startOrder().toReversed()) await this.#processes.stop(...group)
    await this.#processes.stop('sandbox')
    if (this.#postgres !== undefined) {
      await this.#postgres.stop()
      this.#log('  postgres stopped')
    }
    this.#lock.release()
  }

  #environmentOf(service: ProcessName): Variables {
    return environment(service, { folder: this.folder, given: this.#options.env ?? {}, peersFile: this.#peersFile })
  }

  async #environmentIn(name: string, service: ProcessName, told: Variables): Promise<() => Variables> {
    const current = (): Variables => ({ ...this.#environmentOf(service), ...told })
    const adjusted = await this.#options.adjustEnv?.(name, current())
    return () => adjusted ?? current()
  }

  readonly #relayAccess = (...args: string[]): Promise<ProcessExit> => this.operate('relay-access', ...args)

  #fail(error: Error): void {
    this.#log(error.message)
    this.#options.onFailure?.(error)
  }
}
