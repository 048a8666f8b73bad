/**
 * One process of the mesh: started, watched until it reports where it listens, restarted when it dies unexpectedly, stopped in bounded
 * time.
 *
 * Its output goes directly to its log file, so that it neither waits for the launcher nor breaks when the launcher is gone. Its standard
 * input is a pipe from the launcher. The pipe closes when the launcher dies for any reason, and the process then drains and exits (because
 * of RELAY_PARENT_PIPE).
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { allocator, compileCache, nodeFlags, preload } from './node-process.ts'
import { lastLines, openLog, readFrom, until } from './process.ts'

/** Where a process listens, as host:port, from its log line with the event "listening". */
export interface Listening {
  grpc?: string
  admin?: string
  http?: string
}

export interface ProcessOptions {
  name: string
  /** The file that Node runs. */
  main: string
  /** Its environment. The argument says where it listened before, so that it can listen there again. */
  env: (before: Listening) => Record<string, string>
  /** Its log file. */
  log: string
  say?: ((line: string) => void) | undefined
  /** Called when it runs again. */
  onStart?: (() => void) | undefined
  /** Called when it will not be restarted. */
  onFailure?: ((error: Error) => void) | undefined
}

export interface MeshProcess {
  readonly name: string
  readonly pid: number
  readonly listening: Listening
  isRunning(): boolean
  /** Ends it with a signal, waits until it has exited, and does not restart it. SIGSTOP and SIGCONT are sent without waiting. */
  kill(signal?: NodeJS.Signals): Promise<void>
  /** Starts it where it listened before; stops it first if it runs. */
  restart(): Promise<void>
  /** Sends SIGTERM, waits for it to drain, then sends SIGKILL. */
  stop(): Promise<void>
}

const startTimeoutMs = 60_000
/** Longer than a process takes to drain: a run in progress may take a minute. */
export const stopTimeoutMs = 65_000
const crashesAllowed = 5
const crashWindowMs = 60_000

/** The last log line so far that says where the process listens. */
function listeningIn(text: string): Listening | undefined {
  for (const line of text.split('\n')) {
    if (!line.includes('"listening"') || !line.endsWith('}')) continue
    try {
      const { event, grpc, admin, http } = JSON.parse(line) as Listening & { event?: string }
      if (event === 'listening') return { grpc, admin, http }
    } catch {
      // Not a log line of ours: a stack trace, or a line that is still being written.
    }
  }
  return undefined
}

/** Starts it and waits until it listens. Throws if it exits before that. */
export async function startProcess(options: ProcessOptions): Promise<MeshProcess> {
  const { name, log, say = () => undefined } = options
  let child: ChildProcess | undefined
  let listening: Listening = {}
  /** Whether it should be running. */
  let wanted = false
  let logStart = 0
  const crashes: number[] = []

  const isRunning = (): boolean => child !== undefined && child.exitCode === null && child.signalCode === null

  const start = async (): Promise<void> => {
    wanted = true
    const file = openLog(log)
    logStart = file.size
    const mine = spawn(process.execPath, [...nodeFlags, ...preload, options.main], {
      // Its own process group: Ctrl-C in the terminal must reach only the launcher, which stops processes in order.
      detached: true,
      stdio: ['pipe', file.fd, file.fd],
      env: { ...allocator, ...options.env(listening), NODE_COMPILE_CACHE: compileCache, RELAY_PARENT_PIPE: '1' },
    })
    closeSync(file.fd)
    mine.stdin?.on('error', () => undefined)
    child = mine
    await once(mine, 'spawn')
    const where = (): Listening | undefined => listeningIn(readFrom(log, logStart))
    await until(() => where() !== undefined || !isRunning(), startTimeoutMs)
    const found = where()
    if (found === undefined || !isRunning()) {
      const how = isRunning() ? `did not say within ${startTimeoutMs / 1000} s where it listens` : `ended with ${ending(mine)}`
      mine.kill('SIGKILL')
      throw new Error(`${name} ${how}; ${log} ends with\n${lastLines(log, logStart)}`)
    }
    listening = found
    mine.once('exit', () => void revive(mine))
    // It may have died between the two lines above.
    if (!isRunning()) void revive(mine)
  }

  /** Restarts it after an unexpected death, with a growing delay, until it has died too often. */
  const revive = async (dead: ChildProcess): Promise<void> => {
    if (!wanted || child !== dead) return
    child = undefined
    for (let reason = `${name} (process ${dead.pid}) ended with ${ending(dead)}; its log ends with\n${lastLines(log, logStart)}`; ;) {
      say(reason)
      const now = performance.now()
      crashes.push(now)
      while (crashes[0]! < now - crashWindowMs) crashes.shift()
      if (crashes.length >= crashesAllowed) {
        wanted = false
        options.onFailure?.(new Error(`${name} ended ${crashes.length} times within ${crashWindowMs / 1000} s; it is not started again`))
        return
      }
      await pause(100 * 2 ** crashes.length)
      // Meanwhile it was stopped, or started by hand.
      if (!wanted || child !== undefined) return
      try {
        await start()
        say(`${name} runs again (process ${child!.pid})`)
        options.onStart?.()
        return
      } catch (error) {
        if (!wanted) return
        child = undefined
        reason = error instanceof Error ? error.message : String(error)
      }
    }
  }

  const end = async (signals: readonly NodeJS.Signals[]): Promise<void> => {
    wanted = false
    const mine = child
    for (const signal of signals) {
      mine?.kill(signal)
      if (await until(() => !isRunning(), stopTimeoutMs)) return
      say(`${name} does not end on ${signal}; its log ends with\n${lastLines(log, logStart)}`)
    }
  }
  const stop = (): Promise<void> => end(['SIGTERM', 'SIGKILL'])

  await start().catch((error: unknown) => {
    wanted = false
    throw error
  })
  return {
    name,
    get pid() {
      return child?.pid ?? 0
    },
    get listening() {
      return listening
    },
    isRunning,
    kill: async (signal = 'SIGKILL') => {
      if (signal === 'SIGSTOP' || signal === 'SIGCONT') child?.kill(signal)
      else await end([signal])
    },
    restart: async () => {
      if (isRunning()) await stop()
      await start()
      options.onStart?.()
    },
    stop,
  }
}

const ending = (child: ChildProcess): string => (child.signalCode === null ? `exit code ${child.exitCode}` : child.signalCode)
