/** The processes of a mesh by name: starts them where they listened before, records them in the pid file, finds them and stops them. */
import { join } from 'node:path'
import { startProcess, type Listening, type MeshProcess } from './child.ts'
import { isFree, keepPort, storedPort } from '../state/state-dir.ts'
import { writeRoster } from './pid-file.ts'
import { all, timed, type ProgressLog } from './steps.ts'

export interface ProcessesParts {
  folder: string
  /** The root folder of their sources. */
  root: string
  say: ProgressLog
  /** Called each time a process runs again. */
  onStart: () => void
  /** Called when a process has died too often. */
  onFailure: (error: Error) => void
}

export interface Launch {
  name: string
  /** The file that Node runs, relative to the root. */
  main: string
  env: Readonly<Record<string, string>> | (() => Record<string, string>)
  /** The port for HTTP; without it, the process serves gRPC. */
  httpPort?: number
}

export class Processes {
  readonly #parts: ProcessesParts
  readonly #byName = new Map<string, MeshProcess>()

  constructor(parts: ProcessesParts) {
    this.#parts = parts
  }

  get names(): string[] {
    return [...this.#byName.keys()]
  }

  find(name: string): MeshProcess | undefined {
    return this.#byName.get(name)
  }

  get(name: string): MeshProcess {
    const found = this.find(name)
    if (found === undefined) throw new Error(`there is no process "${name}"; there are ${this.names.join(', ')}`)
    return found
  }

  /** Starts several processes in parallel and reports where each listens. */
  async start(launches: readonly Launch[]): Promise<MeshProcess[]> {
    return timed(
      this.#parts.say,
      `starting ${launches.map(({ name }) => name).join(', ')}`,
      () => all(launches.map((launch) => this.#launch(launch))),
      (started) => started.map(({ name, listening }) => `${name} listens: ${where(listening)}`).join('; '),
    )
  }

  /** Stops all replicas of several services in parallel. */
  async stop(...services: readonly string[]): Promise<void> {
    const isOf = (name: string) => services.some((service) => name === service || name.startsWith(`${service}-`))
    await Promise.all(
      this.names.filter(isOf).map(async (name) => {
        await this.get(name).stop()
        this.#parts.say(`  ${name} stopped`)
      }),
    )
  }

  async #launch({ name, main, env, httpPort }: Launch): Promise<MeshProcess> {
    const { folder, root, say, onStart, onFailure } = this.#parts
    const [grpc, admin] = await Promise.all([this.#address(`${name}.grpc`), this.#address(`${name}.admin`)])
    const started = await startProcess({
      name,
      main: join(root, main),
      log: join(folder, 'logs', `${name}.log`),
      say,
      onFailure,
      onStart: () => {
        this.#register()
        onStart()
      },
      env: (last) => ({
        ...(typeof env === 'function' ? env() : env),
        ADMIN_LISTEN: last.admin ?? admin,
        ...(httpPort === undefined ? { GRPC_LISTEN: last.grpc ?? grpc } : { HTTP_LISTEN: last.http ?? `127.0.0.1:${httpPort}` }),
      }),
    })
    this.#byName.set(name, started)
    this.#register()
    for (const [kind, address] of Object.entries(started.listening)) {
      if (address !== undefined) keepPort(folder, `${name}.${kind}`, Number(address.split(':').at(-1)))
    }
    return started
  }

  /** The address of the last start if it is free, or any port (0). */
  async #address(name: string): Promise<string> {
    const kept = storedPort(this.#parts.folder, name)
    return `127.0.0.1:${kept !== undefined && (await isFree(kept)) ? kept : 0}`
  }

  #register(): void {
    writeRoster(this.#parts.folder, this.#byName.values())
  }
}

const where = ({ http, grpc, admin }: Listening): string =>
  [http && `HTTP ${http}`, grpc && `gRPC ${grpc}`, admin && `admin ${admin}`].filter((each) => each !== undefined).join(', ')
