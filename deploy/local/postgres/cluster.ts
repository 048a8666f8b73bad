/** The files of one Postgres cluster: where they are, how they are created, and which process still uses them. */
import { execFileSync } from 'node:child_process'
import { chownSync, existsSync, mkdirSync, readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { canReach, type Account } from './account.ts'
import { sharedFolder, type Binaries } from './binaries.ts'
import { nameOf } from '../state/state-dir.ts'
import { commandOf, signal, until } from '../processes/process.ts'

export const superuser = 'relay'

/** Below the folder. If the account cannot enter it, in another place that is the same each time. */
export function placeCluster(folder: string, account: Account | undefined): string {
  const inside = account === undefined || canReach(account, folder)
  const place = inside ? join(folder, 'postgres') : join(sharedFolder, nameOf(realpathSync(folder)))
  mkdirSync(place, { recursive: true, mode: 0o755 })
  if (account !== undefined) chownSync(place, account.uid, account.gid)
  return place
}

/** Creates the cluster's files once. An interrupted creation starts again. */
export function createCluster(place: string, password: string, binaries: Binaries, account: Account | undefined, durable: boolean): void {
  const [data, fresh, passwordFile] = [join(place, 'data'), join(place, 'data.new'), join(place, 'password')]
  if (existsSync(data)) {
    const major = readFileSync(join(data, 'PG_VERSION'), 'utf8').trim()
    if (major === binaries.major) return
    const way = 'Move the data over, or start again with `make reset`.'
    throw new Error(`${data} was made by Postgres ${major}, and this is Postgres ${binaries.major}. ${way}`)
  }
  rmSync(fresh, { recursive: true, force: true })
  rmSync(passwordFile, { force: true })
  writeFileSync(passwordFile, password, { mode: 0o600, flag: 'wx' })
  if (account !== undefined) chownSync(passwordFile, account.uid, account.gid)
  try {
    execFileSync(
      binaries.initdb,
      [
        `--pgdata=${fresh}`,
        `--username=${superuser}`,
        `--pwfile=${passwordFile}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        // Postgres's own locale provider: the machine needs no locale.
        '--locale-provider=builtin',
        '--builtin-locale=C.UTF-8',
        '--locale=C',
        ...(durable ? [] : ['--no-sync', '--no-data-checksums']),
      ],
      {
        cwd: '/',
        env: { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' },
        stdio: ['ignore', 'ignore', 'pipe'],
        ...(account === undefined ? {} : { uid: account.uid, gid: account.gid }),
      },
    )
  } catch (error) {
    const said = (error as { stderr?: Buffer }).stderr?.toString().trim() ?? ''
    throw new Error(`Postgres could not make its files in ${data}:\n${said}`, { cause: error })
  } finally {
    rmSync(passwordFile, { force: true })
  }
  renameSync(fresh, data)
}

/** postmaster.pid: line 1 is the process, line 8 its state (src/include/utils/pidfile.h). */
export function readPidFile(data: string): { pid: number; ready: boolean } | undefined {
  try {
    const lines = readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n')
    return { pid: Math.abs(Number(lines[0])), ready: lines[7]?.trim() === 'ready' }
  } catch {
    return undefined
  }
}

const runsOn = (pid: number, data: string): boolean => commandOf(pid).includes(`-D ${data} `)

/** Stops a server that a killed launcher left running on these files, and removes a pid file whose id now belongs to another program. */
export async function stopLeftover(data: string, log: (line: string) => void): Promise<void> {
  const left = readPidFile(data)
  if (left === undefined || left.pid === 0) return
  const command = commandOf(left.pid)
  if (command === '') return // Postgres takes over such a pid file itself, and checks for its own orphans.
  if (!runsOn(left.pid, data)) {
    rmSync(join(data, 'postmaster.pid'), { force: true })
    return
  }
  log(`stopping the Postgres that an earlier run left behind (process ${left.pid})`)
  for (const [name, timeoutMs] of [
    ['SIGINT', 10_000],
    ['SIGQUIT', 5000],
    ['SIGKILL', 2000],
  ] as const) {
    signal(left.pid, name)
    if (await until(() => !runsOn(left.pid, data), timeoutMs)) return
  }
  throw new Error(`Postgres (process ${left.pid}) still runs on ${data} and cannot be stopped`)
}
