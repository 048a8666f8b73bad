/**
 * The whole mesh on the loopback address as separate processes, with a Postgres of its own unless one is given. `make up` and the journeys
 * under test/ start it here.
 */
import { existsSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { accessEnvironment, writeOperatorsFile } from './access.ts'
import { startProcess, type Listening, type MeshProcess } from './child.ts'
import { createServiceDatabase, type DatabaseServer } from './databases.ts'
import { environment } from './environment.ts'
import { isFree, keepPort, keptPort, portOrAny, prepareHome, reservePort, takeLock } from './home.ts'
import { writePeers } from './identities.ts'
import { adminKey, createKey, usableAdminKey, type AdminKey, type KeyRequest } from './keys.ts'
import { programs, serviceNames, type MeshOptions, type OperatorProgram, type ServiceName } from './mesh-options.ts'
import { fillCompileCache, runNode, type Ended } from './node-process.ts'
import { oauthEnvironment, writeOauthFile } from './oauth.ts'
import { startPostgres, type Postgres } from './postgres.ts'
import { outwaitRoster, writeRoster } from './roster.ts'
import { sandboxClients, sandboxEnvironment } from './sandbox.ts'

export type { MeshOptions, ServiceName } from './mesh-options.ts'

type ProcessName = ServiceName | 'gateway'

export interface ServiceState {
  grpc: string
  admin: string
  pid: number
}

export interface Mesh {
  /** The gateway's URL. */
  readonly gateway: string
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
  operate(program: OperatorProgram, ...args: string[]): Promise<Ended>
  /** Makes a further key. */
  createKey(request: KeyRequest): Promise<string>
  /** Drains and stops everything in the reverse order of its start. */
  stop(): Promise<void>
}

const mainOf = (name: ProcessName): string => (name === 'gateway' ? 'gateway/main.ts' : `services/${name}/main.ts`)
const sandboxMain = 'deploy/sandbox/main.ts'
const checkout = join(import.meta.dirname, '../..')

/** Runs a step and says how long it took. */
async function timed<T>(log: (line: string) => void, doing: string, step: () => Promise<T>, done: (value: T) => string): Promise<T> {
  log(`${doing} …`)
  const start = performance.now()
  const value = await step()
  log(`  ${done(value)} (${((performance.now() - start) / 1000).toFixed(1)} s)`)
  return value
}

/** All of them, once each has ended one way or the other: a failure of one must not hide what another has started. */
async function all<T>(starts: Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(starts)
  return Promise.all(starts)
}

const where = ({ http, grpc, admin }: Listening): string =>
  [http && `HTTP ${http}`, grpc && `gRPC ${grpc}`, admin && `admin ${admin}`].filter((each) => each !== undefined).join(', ')

/** Starts everything, or throws with nothing left running. HeldError: another launcher has this folder. */
export async function startMesh(options: MeshOptions): Promise<Mesh> {
  prepareHome(options.folder)
  const folder = realpathSync(options.folder)
  const root = options.root ?? checkout
  const log = options.log ?? (() => undefined)
  const lock = takeLock(join(folder, 'lock'))
  const processes = new Map<string, MeshProcess>()
  let postgres: Postgres | undefined
  /** The gateway's port, until it listens there. */
  let reserved: Awaited<ReturnType<typeof reservePort>> | undefined
  let stopping: Promise<void> | undefined
  let admin: AdminKey
  /** What a service is told beside its environment, where its programs are told it too. */
  const further: Record<(typeof programs)[OperatorProgram], Record<string, string>> = { access: {}, oauth: {} }

  const fail = (error: Error): void => {
    log(error.message)
    options.onFailure?.(error)
  }

  const peersFile = writePeers(folder, [...serviceNames, 'gateway'])
  const environmentOf = (service: ProcessName): Record<string, string> =>
    environment(service, { folder, given: options.env ?? {}, peersFile })
  const operate: Mesh['operate'] = (program, ...args) => {
    const service = programs[program]
    return runNode([join(root, `services/${service}/${program}.cli.ts`), ...args], { ...environmentOf(service), ...further[service] })
  }
  const relayAccess = operate.bind(undefined, 'relay-access')

  const launch = async (name: string, main: string, env: () => Record<string, string>, http?: number): Promise<MeshProcess> => {
    /** Where it listened in an earlier run, when that is free; else anywhere (port 0). */
    const door = async (kind: 'grpc' | 'admin'): Promise<string> => {
      const kept = keptPort(folder, `${name}.${kind}`)
      return `127.0.0.1:${kept !== undefined && (await isFree(kept)) ? kept : 0}`
    }
    const [grpc, admin] = await Promise.all([door('grpc'), door('admin')])
    const started = await startProcess({
      name,
      main: join(root, main),
      log: join(folder, 'logs', `${name}.log`),
      say: log,
      onFailure: fail,
      onStart: () => {
        writeRoster(folder, processes.values())
        options.onStart?.()
      },
      env: (last) => ({
        ...env(),
        ADMIN_LISTEN: last.admin ?? admin,
        ...(http === undefined ? { GRPC_LISTEN: last.grpc ?? grpc } : { HTTP_LISTEN: last.http ?? `127.0.0.1:${http}` }),
      }),
    })
    processes.set(name, started)
    writeRoster(folder, processes.values())
    for (const [kind, address] of Object.entries(started.listening)) {
      if (address !== undefined) keepPort(folder, `${name}.${kind}`, Number(address.split(':').at(-1)))
    }
    return started
  }

  /** Starts the replicas of a service and returns their addresses as the gateway wants them. */
  const launchService = async (service: ServiceName, env: Record<string, string>): Promise<string> => {
    const nameOf = (index: number): string => (index === 0 ? service : `${service}-${index + 1}`)
    const names = Array.from({ length: options.replicas?.[service] ?? 1 }, (_, index) => nameOf(index))
    options.signal?.throwIfAborted()
    const started = await timed(
      log,
      `starting ${names.join(', ')}`,
      () => all(names.map((name) => launch(name, mainOf(service), () => ({ ...environmentOf(service), ...env })))),
      (done) => done.map((each) => `${each.name} listens: ${where(each.listening)}`).join('; '),
    )
    return started.map((each) => each.listening.grpc).join('+')
  }

  const sandboxUrl = (): string | undefined => {
    const http = processes.get('sandbox')?.listening.http
    return http === undefined ? undefined : `http://${http}`
  }

  const stop = (): Promise<void> => {
    stopping ??= (async () => {
      const end = async (names: string[]): Promise<void> => {
        await Promise.all(
          names.map(async (name) => {
            await processes.get(name)?.stop()
            if (processes.has(name)) log(`  ${name} stopped`)
          }),
        )
      }
      const of = (service: string): string[] => [...processes.keys()].filter((name) => name === service || name.startsWith(`${service}-`))
      await end(['gateway'])
      await end(of('actions'))
      await end([...of('oauth'), ...of('idempotency'), ...of('ratelimit')])
      await end(of('sandbox'))
      // The last: what the others have to say of their last minute goes into its audit log.
      await end(of('access'))
      if (postgres !== undefined) {
        await postgres.stop()
        log('  postgres stopped')
      }
      lock.release()
    })()
    return stopping
  }

  try {
    await outwaitRoster(folder, log)
    const mains = [...[...serviceNames, 'gateway' as const].map(mainOf), ...(options.sandbox === true ? [sandboxMain] : [])]
    await fillCompileCache(mains.map((main) => join(root, main)))
    let server: DatabaseServer
    if (options.databaseUrl === undefined) {
      const own = await timed(
        log,
        'starting Postgres',
        () =>
          startPostgres({
            folder,
            durable: options.durable,
            log: (line) => log(`  ${line}`),
            onDeath: (lines) => {
              log(`Postgres ended unasked; its log ends with\n${lines}`)
              void postgres?.start().then(
                () => log('Postgres runs again'),
                (error: Error) => fail(error),
              )
            },
          }),
        (done) => `Postgres listens: 127.0.0.1:${done.port}`,
      )
      postgres = own
      server = own
    } else {
      log('using the Postgres of DATABASE_URL')
      server = { adminUrl: options.databaseUrl, folder }
    }
    const prefix = options.databasePrefix ?? 'relay'
    const redis: Record<string, string> = options.redisUrl === undefined ? {} : { REDIS_URL: options.redisUrl }
    const limits = options.env?.RATELIMIT_FILE ?? join(root, 'deploy/local/limits.yaml')

    // Browsers are sent back there, which the oauth service and the sandbox are told before it listens.
    const wanted = options.gatewayPort
    reserved = await reservePort(wanted !== undefined && (await isFree(wanted)) ? wanted : keptPort(folder, 'gateway.http'))
    const { port } = reserved
    const publicUrl = options.env?.PUBLIC_URL || `http://127.0.0.1:${port}`

    // One after the other: they change the same catalog rows.
    further.access = await accessEnvironment(server, `${prefix}_access`)
    writeOperatorsFile(folder, { ...environmentOf('access'), ...further.access })
    // The others are told where it listens; while it starts they get their databases.
    const starting = launchService('access', further.access)
    const others = (async () => ({
      idempotency: await createServiceDatabase(server, `${prefix}_idempotency`),
      oauth: await oauthEnvironment({ server, database: `${prefix}_oauth`, gateway: publicUrl, given: options.env ?? {} }),
      actions: await createServiceDatabase(server, `${prefix}_actions`),
    }))()
    await Promise.allSettled([starting, others])
    const [access, databases] = [await starting, await others]
    const toAccess = { ACCESS_ADDR: access }
    further.oauth = databases.oauth
    writeOauthFile(folder, { ...environmentOf('oauth'), ...further.oauth })

    /** The sandbox keeps its port: the processes that speak to it are told it at their start. */
    const launchSandbox = async (): Promise<Record<string, string>> => {
      if (options.sandbox !== true) return {}
      const env = sandboxEnvironment(folder, publicUrl, options.env ?? {})
      await timed(
        log,
        'starting sandbox',
        async () => launch('sandbox', sandboxMain, () => env, await portOrAny(keptPort(folder, 'sandbox.http'))),
        (done) => `sandbox listens: ${where(done.listening)}`,
      )
      return { RELAY_SANDBOX: sandboxUrl()! }
    }
    const oauthAfter = async (sandbox: Promise<Record<string, string>>): Promise<string> => {
      const at = await sandbox
      const clients = 'RELAY_SANDBOX' in at ? sandboxClients(folder) : {}
      return launchService('oauth', { ...toAccess, ...redis, ...at, ...clients, ...further.oauth })
    }

    const kept = adminKey(folder, relayAccess)
    const sandbox = launchSandbox()
    const starts = all([
      oauthAfter(sandbox),
      launchService('idempotency', { ...toAccess, DATABASE_URL: databases.idempotency.owner }),
      launchService('ratelimit', { ...toAccess, ...redis, ...(existsSync(limits) ? { RATELIMIT_FILE: limits } : {}) }),
    ])
    await Promise.allSettled([kept, starts])
    const [keptKey, [oauth = '', idempotency = '', ratelimit = '']] = [await kept, await starts]
    const actions = await launchService('actions', {
      ...toAccess,
      ...(await sandbox),
      DATABASE_URL: databases.actions.owner,
      IDEMPOTENCY_ADDR: idempotency,
      OAUTH_ADDR: oauth,
    })

    options.signal?.throwIfAborted()
    await reserved.release()
    const UPSTREAMS = `access=${access},actions=${actions},idempotency=${idempotency},oauth=${oauth},ratelimit=${ratelimit}`
    await timed(
      log,
      'starting gateway',
      () => launch('gateway', mainOf('gateway'), () => ({ ...environmentOf('gateway'), ...toAccess, ...redis, UPSTREAMS }), port),
      (done) => `gateway listens: ${where(done.listening)}`,
    )
    const got = processes.get('gateway')?.listening.http?.split(':').at(-1)
    if (wanted !== undefined && got !== String(wanted)) log(`port ${wanted} is taken: the gateway takes ${got} instead`)

    admin = await usableAdminKey(keptKey, folder, relayAccess, `http://${processes.get('gateway')?.listening.http}`)
    if (admin.key !== keptKey.key) log('access does not take the API key that was kept (another database, or it has ended): made a new one')
  } catch (error) {
    await reserved?.release()
    await stop()
    throw error
  }

  const of = (name: string): MeshProcess => {
    const found = processes.get(name)
    if (found === undefined) throw new Error(`there is no process "${name}"; there are ${[...processes.keys()].join(', ')}`)
    return found
  }
  return {
    get gateway() {
      return `http://${of('gateway').listening.http}`
    },
    get gatewayAdmin() {
      return of('gateway').listening.admin ?? ''
    },
    get sandbox() {
      return sandboxUrl()
    },
    apiKey: admin.key,
    apiKeyIsNew: admin.isNew,
    get services() {
      const names = [...processes.keys()].filter((name) => name !== 'gateway' && name !== 'sandbox').sort()
      const state = ({ listening: { grpc = '', admin = '' }, pid }: MeshProcess): ServiceState => ({ grpc, admin, pid })
      return Object.fromEntries(names.map((name) => [name, state(of(name))]))
    },
    folder,
    postgres,
    process: of,
    operate,
    createKey: (request) => createKey(relayAccess, request),
    stop,
  }
}
