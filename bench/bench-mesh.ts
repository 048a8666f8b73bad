/** Everything that takes part in a bench: the mesh, the baseline, the receiver, and the load generator. */
import { mkdirSync, rmSync, statfsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Client } from 'pg'
import type { ListActionsResponse } from '#gen/relay/actions/v1/actions.ts'
import { type MeshProcess, startProcess } from '../deploy/local/processes/child.ts'
import { environment } from '../deploy/local/environment.ts'
import { type Mesh, startMesh } from '../deploy/local/mesh.ts'
import { type Baseline, startBaseline } from './baseline/start.ts'
import type { Job } from './load.ts'
import { Loader } from './loader.ts'
import { type Sample, toSample } from './sample.ts'

/** The target of a load. */
export interface Subject {
  readonly name: string
  readonly url: string
  readonly apiKey: string
  /** Process ids by name; the CPU time of all of them counts. */
  readonly processes: Readonly<Record<string, number>>
}

export const cacheFolder = join(import.meta.dirname, '../.cache/bench')

/** Magic number of tmpfs (statfs(2)): nothing on it is durable, so fsync costs nothing. */
const tmpfs = 0x01021994

/** Limits are counted as usual, and nothing reaches them: only granted requests are measured. */
export const unreachedLimits = {
  RATELIMIT_FILE: join(import.meta.dirname, 'limits.yaml'),
  ADDRESS_LIMIT: '1000000000',
  MAX_CONNECTIONS_PER_ADDRESS: '0',
}

const ourGateway = '../gateway/main.ts'

export class BenchMesh {
  readonly #stops: (() => unknown)[] = []
  #mesh: Mesh | undefined
  #baseline: Baseline | undefined
  #receiver: MeshProcess | undefined
  #loader: Loader | undefined
  readonly #signal: AbortSignal

  /** `signal` aborts the work in progress. */
  constructor(signal: AbortSignal) {
    this.#signal = signal
  }

  /** Starts everything. `env` is for the mesh's processes and the baseline's. stop() ends what was started, even if this fails. */
  async start(say: (line: string) => void, env: Record<string, string>): Promise<void> {
    const mesh = (this.#mesh = await this.#startMesh('mesh', env, say))
    const logs = join(mesh.folder, 'logs')
    await checkDurable(mesh)
    this.#signal.throwIfAborted()
    const loader = (this.#loader = new Loader())
    this.#stops.push(() => loader.stop())
    // Ends the load in progress first, and with it the work; the rest then stops in order.
    this.#signal.addEventListener('abort', () => loader.stop())
    const receiver = join(import.meta.dirname, 'receiver.ts')
    this.#receiver = await startProcess({ name: 'receiver', main: receiver, log: join(logs, 'receiver.log'), env: () => ({}) })
    this.#stops.push(() => this.#receiver?.stop())
    this.#baseline = await startBaseline(await listed(mesh), logs, env)
    this.#stops.push(() => Promise.all(this.#baseline!.map((each) => each.stop())))
  }

  /**
   * Starts our gateway twice more, in front of the same services: as it is, and without authentication. Both are new, because a process
   * that has worked for long costs more.
   */
  async startTwins(): Promise<{ open: Subject; guarded: Subject }> {
    const mesh = this.#mesh!
    const gatewayAlone = (subject: Subject): Subject => ({ ...subject, processes: { gateway: subject.processes.gateway! } })
    return {
      open: gatewayAlone(await this.#startGateway(mesh, 'open', 'gateway-without-access.ts', { BENCH_API_KEY: mesh.apiKey })),
      guarded: gatewayAlone(await this.#startGateway(mesh, 'guarded', ourGateway, {})),
    }
  }

  /** A new mesh that sends its traces to the receiver, behind three gateways: one records every request, one a hundredth, one none. */
  async startTraced(say: (line: string) => void): Promise<{ all: Subject; some: Subject; none: Subject }> {
    const sends = { OTEL_EXPORTER_OTLP_ENDPOINT: `http://${this.#receiver!.listening.http}` }
    const mesh = await this.#startMesh('traced', sends, say)
    const others = (name: string, env: Record<string, string>) => this.#startGateway(mesh, name, ourGateway, { ...sends, ...env })
    return {
      all: subjectOf('all', mesh),
      some: await others('some', { OTEL_TRACES_SAMPLER_ARG: '0.01' }),
      none: await others('none', { TELEMETRY_ENABLED: 'false' }),
    }
  }

  /** Another gateway in front of the services of a mesh. */
  async #startGateway(mesh: Mesh, name: string, main: string, env: Record<string, string>): Promise<Subject> {
    const own = environment('gateway', {
      folder: mesh.folder,
      given: { ...unreachedLimits, ...env },
      peersFile: join(mesh.folder, 'peers.json'),
    })
    const upstreams = Object.entries(mesh.services).map(([service, { grpc }]) => `${service}=${grpc}`)
    const started = await startProcess({
      name,
      main: join(import.meta.dirname, main),
      log: join(mesh.folder, 'logs', `${name}.log`),
      env: () => ({ ...own, UPSTREAMS: upstreams.join(','), HTTP_LISTEN: '127.0.0.1:0' }),
    })
    this.#stops.push(() => started.stop())
    const subject = subjectOf(name, mesh)
    return { ...subject, url: `http://${started.listening.http}`, processes: { ...subject.processes, gateway: started.pid } }
  }

  async #startMesh(name: string, env: Record<string, string>, say: (line: string) => void): Promise<Mesh> {
    const folder = join(cacheFolder, `${name}-${process.pid}`)
    mkdirSync(join(folder, 'logs'), { recursive: true })
    this.#stops.push(() => rmSync(folder, { recursive: true, force: true }))
    const mesh = await startMesh({
      folder,
      env: { ...env, ...unreachedLimits },
      log: say,
      signal: this.#signal,
      onFailure: (error) => say(error.message),
    })
    // Under root the data is in another folder.
    this.#stops.push(() => rmSync(dirname(mesh.postgres!.data), { recursive: true, force: true }))
    this.#stops.push(() => mesh.stop())
    return mesh
  }

  /** Stops what was started, in reverse order. */
  async stop(): Promise<void> {
    for (const stop of this.#stops.splice(0).reverse()) await stop()
  }

  rest(ms: number): Promise<void> {
    return pause(ms, undefined, { signal: this.#signal })
  }

  get ours(): Subject {
    return subjectOf('ours', this.#mesh!)
  }

  get baseline(): Subject {
    const [gateway, service] = this.#baseline!
    const processes = { 'baseline-gateway': gateway.pid, 'baseline-service': service.pid }
    return { name: 'baseline', url: `http://${gateway.listening.http}`, apiKey: '', processes }
  }

  /** Where the processes write their logs. */
  logOf(name: string): string {
    return join(this.#mesh!.folder, 'logs', `${name}.log`)
  }

  /** Puts a load on a subject, as the job says, and measures. Throws for the first request that fails. */
  async run(subject: Subject, job: Pick<Job, 'kind' | 'concurrency' | 'ms' | 'rounds'>): Promise<Sample> {
    const others = { ...this.baseline.processes, ...this.ours.processes, receiver: this.#receiver!.pid }
    const measured = await this.#loader!.run({
      ...job,
      url: subject.url,
      apiKey: subject.apiKey,
      receiver: `http://${this.#receiver!.listening.http}`,
      // All of them, to show what else the machine was doing.
      processes: { ...others, ...subject.processes },
    })
    return toSample(measured, Object.keys(subject.processes))
  }
}

function subjectOf(name: string, mesh: Mesh): Subject {
  const services = Object.entries(mesh.services).map(([service, { pid }]) => [service, pid] as const)
  const processes = { gateway: mesh.process('gateway').pid, ...Object.fromEntries(services), postgres: mesh.postgres!.pid }
  return { name, url: mesh.gateway, apiKey: mesh.apiKey, processes }
}

/** The mesh's list, so that the baseline returns the same. */
async function listed(mesh: Mesh): Promise<ListActionsResponse> {
  const response = await fetch(`${mesh.gateway}/actions`, { headers: { authorization: `Bearer ${mesh.apiKey}` } })
  if (!response.ok) throw new Error(`GET /actions was answered with ${response.status}: ${await response.text()}`)
  const { actions, request_id } = (await response.json()) as { actions: ListedJson[]; request_id: string }
  return {
    actions: actions.map(({ params_schema, unavailable_reason, ...action }) => {
      return { ...action, paramsSchema: params_schema, unavailableReason: unavailable_reason ?? undefined }
    }),
    requestId: request_id,
  }
}

interface ListedJson {
  action: string
  provider: string
  description: string
  guarantee: string
  params_schema: Record<string, unknown>
  available: boolean
  unavailable_reason: string | null
}

/** Throws unless Postgres's commits reach a disk. */
async function checkDurable(mesh: Mesh): Promise<void> {
  const postgres = mesh.postgres!
  if (statfsSync(postgres.data).type === tmpfs) throw new Error(`${postgres.data} is in memory: writes there are not durable`)
  const client = new Client({ connectionString: postgres.adminUrl })
  await client.connect()
  try {
    for (const setting of ['fsync', 'synchronous_commit', 'full_page_writes']) {
      const { rows } = await client.query<{ value: string }>('SELECT current_setting($1) AS value', [setting])
      if (rows[0]?.value !== 'on') throw new Error(`Postgres runs with ${setting}=${rows[0]?.value}: writes are not durable`)
    }
  } finally {
    await client.end()
  }
}
