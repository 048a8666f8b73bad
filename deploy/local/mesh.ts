/**
 * The whole mesh on the loopback address as separate processes, with a Postgres of its own unless one is given. `make up` and the journeys
 * under test/ start it here.
 */
import { existsSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { accessEnvironment, writeOperatorsFile } from './access.ts'
import type { MeshProcess } from './processes/child.ts'
import { databaseServer } from './postgres/database-server.ts'
import { createServiceDatabase, type DatabaseServer } from './postgres/databases.ts'
import { environment } from './environment.ts'
import { isFree, storedPort, portOrAny, prepareHome, reservePort, takeLock } from './state/state-dir.ts'
import { writePeers } from './state/identities.ts'
import { adminKey, createKey, usableAdminKey, type AdminKey, type KeyRequest } from './state/keys.ts'
import { programs, serviceNames, type MeshOptions, type OperatorProgram, type ProcessName, type ServiceName } from './mesh-options.ts'
import { fillCompileCache, runNode, type ProcessExit } from './processes/node-process.ts'
import { oauthEnvironment, writeOauthFile } from './oauth.ts'
import type { Postgres } from './postgres/server.ts'
import { Processes } from './processes/mesh-processes.ts'
import { waitForExit } from './processes/pid-file.ts'
import { sandboxClients, sandboxEnvironment } from './sandbox.ts'
import { all, type ProgressLog } from './processes/steps.ts'

export type { MeshOptions, ServiceName } from './mesh-options.ts'

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

type Variables = Record<string, string>

const mainOf = (name: ProcessName): string => (name === 'gateway' ? 'gateway/main.ts' : `services/${name}/main.ts`)
const sandboxMain = 'deploy/sandbox/main.ts'
const checkout = join(import.meta.dirname, '../..')

/** Starts everything, or throws with nothing left running. HeldError: another launcher has this folder. */
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
  /** What a service is told beside its environment, where its programs are told it too. */
  readonly #further: Record<(typeof programs)[OperatorProgram], Variables> = { access: {}, oauth: {} }
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
    this.#peersFile = writePeers(folder, [...serviceNames, 'gateway'])
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
    const service = programs[program]
    const main = join(this.#root, `services/${service}/${program}.cli.ts`)
    return runNode([main, ...args], { ...this.#environmentOf(service), ...this.#further[service] })
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
    const mains = [...[...serviceNames, 'gateway' as const].map(mainOf), ...(sandbox === true ? [sandboxMain] : [])]
    await fillCompileCache(mains.map((main) => join(this.#root, main)))
    const { server, own } = await databaseServer(this.#options, this.#log, (error) => this.#fail(error))
    this.#postgres = own
    // Browsers are sent back there, which the oauth service and the sandbox are told before it listens.
    const reserved = await reservePort(
      gatewayPort !== undefined && (await isFree(gatewayPort)) ? gatewayPort : storedPort(this.folder, 'gateway.http'),
    )
    try {
      await this.#startAll(server, reserved)
    } finally {
      await reserved.release()
    }
  }

  /** In their order: whoever calls another one is told at its start where that listens. */
  async #startAll(server: DatabaseServer, reserved: Awaited<ReturnType<typeof reservePort>>): Promise<void> {
    const { redisUrl, env: given = {}, databasePrefix: prefix = 'relay', signal } = this.#options
    const publicUrl = given.PUBLIC_URL || `http://127.0.0.1:${reserved.port}`
    const toRedis: Variables = redisUrl === undefined ? {} : { REDIS_URL: redisUrl }
    const limits = given.RATELIMIT_FILE ?? join(this.#root, 'deploy/local/limits.yaml')

    this.#further.access = await accessEnvironment(server, `${prefix}_access`)
    writeOperatorsFile(this.folder, { ...this.#environmentOf('access'), ...this.#further.access })
    // The others are told where it listens; while it starts they get their databases. Who starts before its tables are there waits for them.
    const [access, databases] = await all([
      this.#startService('access', this.#further.access),
      otherDatabases(server, prefix, publicUrl, given),
      this.#migrate({ ACCESS_DATABASE_URL: this.#further.access.MIGRATION_DATABASE_URL! }),
    ])
    const migrated = this.#migrate({
      ACTIONS_DATABASE_URL: databases.actions.owner,
      IDEMPOTENCY_DATABASE_URL: databases.idempotency.owner,
      OAUTH_DATABASE_URL: databases.oauth.DATABASE_URL!,
    })
    const toAccess = { ACCESS_ADDR: access }
    this.#further.oauth = databases.oauth
    writeOauthFile(this.folder, { ...this.#environmentOf('oauth'), ...this.#further.oauth })

    const startingSandbox = this.#startSandbox(publicUrl)
    const startOauth = async () => {
      const toSandbox = await startingSandbox
      const clients = 'RELAY_SANDBOX' in toSandbox ? sandboxClients(this.folder) : {}
      return this.#startService('oauth', { ...toAccess, ...toRedis, ...toSandbox, ...clients, ...this.#further.oauth })
    }
    const [toSandbox, storedKey, oauth, idempotency, ratelimit] = await all([
      startingSandbox,
      adminKey(this.folder, this.#relayAccess),
      startOauth(),
      this.#startService('idempotency', { ...toAccess, DATABASE_URL: databases.idempotency.owner }),
      this.#startService('ratelimit', { ...toAccess, ...toRedis, ...(existsSync(limits) ? { RATELIMIT_FILE: limits } : {}) }),
      migrated,
    ])
    const owns = { DATABASE_URL: databases.actions.owner, IDEMPOTENCY_ADDR: idempotency, OAUTH_ADDR: oauth }
    const actions = await this.#startService('actions', { ...toAccess, ...toSandbox, ...owns })

    signal?.throwIfAborted()
    await reserved.release()
    const UPSTREAMS = `access=${access},actions=${actions},idempotency=${idempotency},oauth=${oauth},ratelimit=${ratelimit}`
    await this.#startGateway({ ...toAccess, ...toRedis, UPSTREAMS }, reserved.port)
    await this.#admit(storedKey)
  }

  /** As an operator does before a release. */
  async #migrate(databases: Variables): Promise<void> {
    const { code, stderr } = await runNode([join(this.#root, 'deploy/relay-migrate.ts'), 'run'], databases)
    if (code !== 0) throw new Error(`relay-migrate failed:\n${stderr}`)
  }

  /** "actions", "actions-2" … */
  #namesOf(process: ProcessName): string[] {
    const nameOf = (index: number): string => (index === 0 ? process : `${process}-${index + 1}`)
    return Array.from({ length: this.#options.replicas?.[process] ?? 1 }, (_, index) => nameOf(index))
  }

  /** All replicas of a service; resolves to their addresses as a client of theirs wants them. */
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

  /** Resolves to what those are told who speak to it; it keeps its port, since they are told it at their start. */
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

  /** Sees to it that the administrator gets in. */
  async #admit(kept: AdminKey): Promise<void> {
    this.#admin = await usableAdminKey(kept, this.folder, this.#relayAccess, this.gateway)
    if (this.apiKey === kept.key) return
    this.#log('access does not take the API key that was kept (another database, or it has ended): made a new one')
  }

  async #stopAll(): Promise<void> {
    await this.#processes.stop('gateway')
    await this.#processes.stop('actions')
    await this.#processes.stop('oauth', 'idempotency', 'ratelimit')
    await this.#processes.stop('sandbox')
    // The last: what the others have to say of their last minute goes into its audit log.
    await this.#processes.stop('access')
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

/** Those of the services that start after access. One after the other: they change the same catalog rows. */
async function otherDatabases(server: DatabaseServer, prefix: string, gateway: string, given: NonNullable<MeshOptions['env']>) {
  return {
    idempotency: await createServiceDatabase(server, `${prefix}_idempotency`),
    oauth: await oauthEnvironment({ server, database: `${prefix}_oauth`, gateway, given }),
    actions: await createServiceDatabase(server, `${prefix}_actions`),
  }
}
