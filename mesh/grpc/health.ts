/**
 * grpc.health.v1.Health with live checks: a check runs on request, at most twice per second, so that the response is current. (The npm
 * package keeps a table that must be updated by hand, and loads a second protobuf runtime.)
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { ServerWritableStream, UntypedServiceImplementation } from '@grpc/grpc-js'
import {
  type HealthCheckRequest,
  type HealthCheckResponse,
  type HealthCheckResponse_ServingStatus as Status,
  HealthService,
  type HealthServer,
} from '#gen/grpc/health/v1/health.ts'

/** Resolves if the dependency responds; throws or hangs if not. */
export type HealthCheck = (signal: AbortSignal) => Promise<void>

const freshMs = 500
const watchMs = 1000

export class Health {
  readonly #checks: Readonly<Record<string, HealthCheck>>
  readonly #optional: ReadonlySet<string>
  readonly #services: ReadonlySet<string>
  readonly #timeoutMs: number
  readonly #running = new Map<string, { at: number; ok: Promise<boolean> }>()
  #draining = false

  /** `optional` checks are reported under their own name and never make the process unready. */
  constructor(parts: {
    services: readonly string[]
    checks?: Record<string, HealthCheck>
    optional?: readonly string[]
    timeoutMs?: number
  }) {
    this.#checks = parts.checks ?? {}
    this.#optional = new Set(parts.optional)
    this.#services = new Set(['', ...parts.services])
    this.#timeoutMs = parts.timeoutMs ?? 1500
  }

  /** From now on every check returns NOT_SERVING, so that balancers use other replicas while calls in progress finish. */
  drain(): void {
    this.#draining = true
  }

  get draining(): boolean {
    return this.#draining
  }

  /** Which dependencies respond. */
  async dependencies(): Promise<Record<string, boolean>> {
    const names = Object.keys(this.#checks)
    const responses = await Promise.all(names.map((name) => this.#passes(name)))
    return Object.fromEntries(names.map((name, index) => [name, responses[index]!]))
  }

  async ready(): Promise<boolean> {
    if (this.#draining) return false
    const dependencies = await this.dependencies()
    return Object.entries(dependencies).every(([name, ok]) => ok || this.#optional.has(name))
  }

  /** Undefined for a name that is neither a service here nor a dependency. */
  async status(name: string): Promise<Status | undefined> {
    if (this.#services.has(name)) return (await this.ready()) ? 'SERVING' : 'NOT_SERVING'
    if (Object.hasOwn(this.#checks, name)) return (await this.#passes(name)) ? 'SERVING' : 'NOT_SERVING'
    return undefined
  }

  #passes(name: string): Promise<boolean> {
    const running = this.#running.get(name)
    if (running !== undefined && performance.now() - running.at < freshMs) return running.ok
    const signal = AbortSignal.timeout(this.#timeoutMs)
    const late = new Promise<boolean>((resolve) => signal.addEventListener('abort', () => resolve(false), { once: true }))
    const asked = async () => {
      try {
        await this.#checks[name]!(signal)
        return true
      } catch {
        return false
      }
    }
    const ok = Promise.race([asked(), late])
    this.#running.set(name, { at: performance.now(), ok })
    return ok
  }
}

/** Sends a watcher every change, until it leaves or the process drains; the last status is then NOT_SERVING. */
async function tellChanges(
  health: Health,
  call: ServerWritableStream<HealthCheckRequest, HealthCheckResponse>,
  until: AbortSignal,
): Promise<void> {
  let last: Status | undefined
  while (!call.cancelled) {
    const ending = until.aborted
    const status = (await health.status(call.request.service)) ?? 'SERVICE_UNKNOWN'
    if (status !== last && !call.cancelled) call.write({ status })
    last = status
    if (ending) break
    await pause(watchMs, undefined, { signal: until, ref: false }).catch(() => undefined)
  }
  call.end()
}

/** Watches end when `draining` aborts: an open stream would delay the server's end. */
export function healthHandlers(
  health: Health,
  draining: AbortSignal,
): { definition: typeof HealthService; implementation: UntypedServiceImplementation } {
  const implementation: HealthServer = {
    check(call, callback) {
      health.status(call.request.service).then(
        (status) => (status === undefined ? callback({ code: 5, details: 'unknown service' }) : callback(null, { status })),
        () => callback(null, { status: 'NOT_SERVING' }),
      )
    },
    watch(call) {
      const gone = new AbortController()
      call.on('cancelled', () => gone.abort())
      void tellChanges(health, call, AbortSignal.any([gone.signal, draining]))
    },
  }
  return { definition: HealthService, implementation }
}
