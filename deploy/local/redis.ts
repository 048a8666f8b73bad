/** A real redis-server on the loopback address that persists nothing: for tests, and for shared limits in local mode. */
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startGuarded, type SupervisedProcess } from './processes/supervisor.ts'
import { freePort } from './state/state-dir.ts'
import { lastLines, readFrom, until } from './processes/process.ts'

export interface Redis {
  readonly url: string
  readonly port: number
  readonly pid: number
  /** Starts again after stop() or kill(), on the same port. */
  start(): Promise<void>
  stop(): Promise<void>
  /** Like a crash. */
  kill(): Promise<void>
  /** Pauses it; its connections stay open. */
  pause(): void
  resume(): void
}

/** Whether a Redis on the port answers a PING. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    const end = (response: boolean): void => {
      socket.destroy()
      resolve(response)
    }
    socket.setTimeout(1000, () => end(false))
    socket.once('error', () => end(false))
    socket.once('data', (data) => end(data.toString().startsWith('+PONG')))
    socket.write('PING\r\n')
  })
}

/** Throws if redis-server is not on PATH. */
export async function startRedis(options: { port?: number } = {}): Promise<Redis> {
  let port = options.port ?? 0
  let server: SupervisedProcess | undefined
  let folder = ''

  /** False if another process took the port meanwhile. */
  const attempt = async (): Promise<boolean> => {
    const log = join(folder, 'redis.log')
    const mine = await startGuarded({
      command: 'redis-server',
      args: ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder],
      stopSignal: 'SIGTERM',
      log,
    })
    await until(async () => !mine.isRunning() || (await answers(port)), 10_000, 10)
    if (mine.isRunning()) {
      server = mine
      return true
    }
    const said = readFrom(log, mine.logStart)
    if (said.includes('not found')) throw new Error('redis-server is not on PATH: install it (Debian: apt-get install redis-server)')
    if (said.includes('Address already in use')) return false
    throw new Error(`Redis did not start:\n${lastLines(log, mine.logStart)}`)
  }

  const start = async (): Promise<void> => {
    if (server?.isRunning() === true) return
    folder = mkdtempSync(join(tmpdir(), 'relay-redis-'))
    try {
      const fixed = port !== 0
      const ready = await until(
        async () => {
          if (!fixed) port = await freePort()
          return attempt()
        },
        5000,
        100,
      )
      if (!ready) throw new Error(`Redis could not start: port ${port} of 127.0.0.1 is taken`)
    } catch (error) {
      rmSync(folder, { recursive: true, force: true })
      throw error
    }
  }

  const end = async (name: NodeJS.Signals): Promise<void> => {
    if (server === undefined) return
    server.signal(name)
    server.signal('SIGCONT')
    if (!(await until(() => server?.isRunning() !== true, 5000))) server.signal('SIGKILL')
    await server.exited
    rmSync(folder, { recursive: true, force: true })
  }

  await start()
  return {
    get url() {
      return `redis://127.0.0.1:${port}`
    },
    get port() {
      return port
    },
    get pid() {
      return server?.pid ?? 0
    },
    start,
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
    pause: () => server?.signal('SIGSTOP'),
    resume: () => server?.signal('SIGCONT'),
  }
}
