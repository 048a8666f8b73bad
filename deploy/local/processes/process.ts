/** Facts about a process by its id, without assuming that the id still belongs to the same process. */
import { execFileSync } from 'node:child_process'
import { closeSync, fstatSync, openSync, readFileSync, readSync, renameSync, statSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'

const linux = process.platform === 'linux'

const ps = (field: string, pid: number): string => {
  try {
    return execFileSync('ps', ['-o', `${field}=`, '-p', String(pid)], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return ''
  }
}

const procFile = (pid: number, name: string): string => {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8')
  } catch {
    return ''
  }
}

/** The start time, which tells a process from a later one with the same id. Empty if there is none. proc_pid_stat(5), field 22. */
export function identityOf(pid: number): string {
  if (!linux) return ps('lstart', pid)
  // The command's name, in parentheses, may contain spaces: count from behind it.
  const fields = procFile(pid, 'stat').split(') ').at(-1)?.split(' ') ?? []
  return fields[0] === 'Z' ? '' : (fields[19] ?? '')
}

/** The arguments of a process as one line; empty if there is none. */
export const commandOf = (pid: number): string => (linux ? procFile(pid, 'cmdline').replaceAll('\0', ' ').trim() : ps('command', pid))

/** The running children of a process. */
export function childrenOf(pid: number): number[] {
  if (linux)
    return procFile(pid, `task/${pid}/children`)
      .split(' ')
      .filter((each) => each !== '')
      .map(Number)
  const all = execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' }).trim().split('\n')
  return all
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter(([, parent]) => parent === pid)
    .map(([child]) => child!)
}

export const isAlive = (pid: number): boolean => identityOf(pid) !== ''

/** Sends a signal. Returns whether the process existed. */
export function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}

/** Polls until the answer is true or the time (ms) is over. Returns the last answer. */
export async function until(condition: () => boolean | Promise<boolean>, timeoutMs: number, intervalMs = 20): Promise<boolean> {
  const end = performance.now() + timeoutMs
  while (!(await condition())) {
    if (performance.now() > end) return false
    await pause(intervalMs)
  }
  return true
}

/** Opens a log file to append to. A file above 10 MB is first renamed to `.old`. */
export function openLog(path: string): { fd: number; size: number } {
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > 10e6) renameSync(path, `${path}.old`)
  const fd = openSync(path, 'a', 0o600)
  return { fd, size: fstatSync(fd).size }
}

/** The content of a file from a byte on; empty if there is no such file. */
export function readFrom(path: string, start: number): string {
  let fd: number
  try {
    fd = openSync(path, 'r')
  } catch {
    return ''
  }
  try {
    const buffer = Buffer.alloc(Math.max(0, fstatSync(fd).size - start))
    return buffer.toString('utf8', 0, readSync(fd, buffer, 0, buffer.length, start))
  } finally {
    closeSync(fd)
  }
}

/** The last lines of a log, indented for a terminal. */
export function lastLines(path: string, start = 0, count = 8): string {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0
  const lines = readFrom(path, Math.max(start, size - 16_384))
    .trimEnd()
    .split('\n')
    .slice(-count)
  return lines.map((line) => `    ${line.length > 400 ? `${line.slice(0, 400)}…` : line}`).join('\n')
}
