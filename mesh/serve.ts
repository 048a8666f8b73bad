/**
 * The life of a process: configuration, start, signals, drain, end. The only place that ends one.
 *
 *   await run('idempotency', variables, async (runtime) => {
 *     const database = …
 *     runtime.onStop('database', () => database.close())
 *     return serveGrpc(runtime, { services: […], verifier, tls, health })
 *   })
 *
 * What started last stops first. A listener first reports that it drains and serves on for DRAIN_DELAY, then accepts nothing new. Work in
 * progress has DRAIN_TIMEOUT to finish, or as long as any of it may take (`mayTake`), everything together a second more; the rest is cut. A
 * process that failed has one second in all.
 *
 * Exit codes: 0 stopped on request, and nothing was cut; 1 failed, or something was cut; 78 invalid configuration.
 */
import { flushCompileCache } from 'node:module'
import { setTimeout as pause } from 'node:timers/promises'
import packageJson from '../package.json' with { type: 'json' }
import { serveAdmin } from './admin.ts'
import type { DenialCounter } from './audit/denials.ts'
import { type Config, ConfigError, type Spec, describeConfig, formatAddress, readConfig } from './config.ts'
import type { Verifier } from './grpc/caller.ts'
import type { Health } from './grpc/health.ts'
import { GrpcServer, type BoundServer } from './grpc/server.ts'
import type { Tls } from './tls/credentials.ts'
import { collectWhenIdle } from './idle.ts'
import { instanceId } from './telemetry/instance.ts'
import { plaintextProblems } from './plaintext.ts'
import { createLogger } from './telemetry/log.ts'
import type { Logger } from './telemetry/log.ts'
import { Metrics } from './telemetry/metrics.ts'
import { openRecording } from './telemetry/tracer-handle.ts'
import { type grpcVariables, processVariables } from './variables.ts'

/** EX_CONFIG of sysexits.h. */
const badConfiguration = 78
/** How long a failed process may take to close what it can, in milliseconds. */
const failedMs = 1000
/** Extra time for the responses to the longest work and for writing its results, in milliseconds. */
const lastAnswersMs = 1000
/** For the remaining spans at the end. */
const lastSpansMs = 500

export type ProcessConfig = Config<typeof processVariables>

export interface Runtime<C = unknown> {
  readonly name: string
  readonly config: C & ProcessConfig
  readonly log: Logger
  readonly metrics: Metrics
  /** How long the end waits for work in progress, in milliseconds. */
  readonly drainMs: number
  /** Registers how something that was started is stopped. */
  onStop(what: string, stop: () => unknown): void
  /** Says how long work in progress may take, in milliseconds: the end waits for the longest. */
  mayTake(what: string, ms: number): void
}

/** `host:port` by what is served there, e.g. {grpc: '127.0.0.1:7101', admin: …}. */
export type Listening = Record<string, string>

/** Runs one process from its variables to its end. */
export async function run<S extends Spec>(
  name: string,
  variables: S,
  start: (runtime: Runtime<Config<S>>) => Promise<Listening>,
): Promise<void> {
  const spec = { ...processVariables, ...variables }
  if (process.argv.includes('--help')) {
    console.log(`Relay ${name}. It is configured by environment variables:\n\n${describeConfig(spec)}`)
    return
  }
  let config: Config<S> & ProcessConfig
  try {
    config = readConfig(spec) as unknown as Config<S> & ProcessConfig
    const problems = plaintextProblems(spec, config)
    if (problems.length > 0) throw new ConfigError(problems.join('\n'))
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    console.error(`${name}: ${error.message}`)
    process.exit(badConfiguration)
  }
  const instance = instanceId(config.resourceAttributes)
  const log = createLogger(name, config.logLevel, undefined, instance)
  const stops: { what: string; stop: () => unknown }[] = []
  let maxMs = 0
  const runtime: Runtime<Config<S>> = {
    name,
    config,
    log,
    metrics: new Metrics(name),
    get drainMs() {
      return config.drainMs ?? maxMs + lastAnswersMs
    },
    onStop: (what, stop) => stops.push({ what, stop }),
    mayTake(what, ms) {
      maxMs = Math.max(maxMs, ms)
      if (config.drainMs !== undefined && config.drainMs < ms) {
        const facts = { what, may_take_ms: ms, drain_ms: config.drainMs }
        log.warn(facts, 'DRAIN_TIMEOUT is shorter than the longest work may take: the rest is cut at the end')
      }
    },
  }
  const { version } = packageJson
  const build = runtime.metrics.gauge('relay_build_info', 'Version and commit of this process; always 1', ['version', 'commit'])
  build.set({ version, commit: config.commit ?? 'unknown' }, 1)
  runtime.metrics
    .gauge('target_info', 'Instance id of this process in traces and log lines; always 1', ['service_instance_id'])
    .set({ service_instance_id: instance }, 1)
  const recording = openRecording({ service: name, version, environment: config.environment, instance, log, metrics: runtime.metrics })
  if (recording !== undefined) runtime.onStop('spans', () => recording.stop(lastSpansMs))

  let ending = false
  let exitCode = 0
  const end = async (why: string, failure?: unknown): Promise<void> => {
    if (failure !== undefined) {
      log.fatal({ err: failure }, why)
      exitCode = failure instanceof ConfigError ? badConfiguration : 1
    }
    if (ending) return
    ending = true
    if (failure === undefined) log.info({ why }, 'stopping')
    const tooLate = setTimeout(
      () => {
        log.error('did not stop in time')
        log.flushNow()
        process.exit(1)
      },
      failure === undefined ? config.drainDelayMs + runtime.drainMs + 1000 : failedMs,
    )
    for (const { what, stop } of stops.reverse()) {
      try {
        await stop()
      } catch (error) {
        log.error({ err: error, what }, 'did not stop cleanly')
        exitCode ||= 1
      }
    }
    clearTimeout(tooLate)
    if (exitCode === 0) log.info({ why }, 'stopped')
    log.flushNow()
    process.exit(exitCode)
  }

  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void end(signal))
  // A process that no longer knows its own state must not continue to act.
  process.on('uncaughtException', (error) => void end('uncaught exception', error))
  process.on('unhandledRejection', (error) => void end('unhandled rejection', error))
  if (config.parentPipe) process.stdin.on('end', () => void end('the launcher is gone')).resume()

  try {
    const listening = await start(runtime)
    // Printed at any log level: launchers wait for this line.
    log.child({}, { level: 'info' }).info({ event: 'listening', ...listening }, 'listening')
    log.flushNow()
    // So that the next start need not load the TypeScript parser (NODE_COMPILE_CACHE).
    flushCompileCache()
    collectWhenIdle()
  } catch (error) {
    // A value that turns out to be wrong only when it is used: printed for a person, like the others.
    if (error instanceof ConfigError) console.error(`${name}: ${error.message}`)
    await end('could not start', error)
  }
}

export interface GrpcParts {
  services: readonly BoundServer[]
  verifier: Verifier
  /** Required, so that no service is served without TLS by an oversight. */
  tls: Tls | undefined
  /** Counts denials, for the audit log. */
  denials?: DenialCounter | undefined
  health: Health
}

/** Serves gRPC and the admin port, and drains both at the end. */
export async function serveGrpc(runtime: Runtime<Config<typeof grpcVariables>>, parts: GrpcParts): Promise<Listening> {
  const { config, log, metrics } = runtime
  const admin = await serveAdmin(config.adminListen, { metrics, health: parts.health })
  runtime.onStop('admin port', () => admin.close())
  const server = new GrpcServer({ ...parts, log, metrics, maxConnectionAgeMs: config.maxConnectionAgeMs })
  const port = await server.listen(config.grpcListen)
  if (parts.tls !== undefined) followCertificates(runtime, parts.tls)
  runtime.mayTake('calls', server.maxCallMs)
  runtime.onStop('gRPC server', async () => {
    parts.health.drain()
    await pause(config.drainDelayMs)
    if (!(await server.drain(runtime.drainMs))) throw new Error('calls were still in progress at DRAIN_TIMEOUT and were cut')
  })
  return { grpc: formatAddress({ ...config.grpcListen, port }), admin: formatAddress({ ...config.adminListen, port: admin.port }) }
}

/** Certificates are replaced without a restart. */
export function followCertificates(runtime: Runtime, tls: Tls): void {
  const following = tls.follow(runtime.log)
  runtime.onStop('certificates', () => following.stop())
}
