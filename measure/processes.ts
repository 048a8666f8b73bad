/** The resources that processes have used, from Linux's /proc (proc_pid_stat(5), proc_pid_status(5)). */
import { readFileSync, readdirSync } from 'node:fs'

/** The unit of CPU times in /proc: USER_HZ, which is 100 per second on every Linux. */
const tickMs = 10

interface Stat {
  pid: number
  parent: number
  cpuMs: number
}

/** Of one process with its threads, and of its exited children; undefined if it is gone. */
function readStat(pid: number): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The command's name, in parentheses, may contain spaces: count from behind it.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    const [utime, stime, cutime, cstime] = fields.slice(11, 15).map(Number)
    return { pid, parent: Number(fields[1]), cpuMs: (utime! + stime! + cutime! + cstime!) * tickMs }
  } catch {
    return undefined
  }
}

/** The CPU time, in milliseconds, of each process with all of its descendants, since it began. */
export function cpuOf(roots: Readonly<Record<string, number>>): Record<string, number> {
  const children = Map.groupBy(
    readdirSync('/proc').flatMap((name) => (/^\d+$/.test(name) ? (readStat(Number(name)) ?? []) : [])),
    ({ parent }) => parent,
  )
  const below = (pid: number): number => (children.get(pid) ?? []).reduce((sum, child) => sum + child.cpuMs + below(child.pid), 0)
  return Object.fromEntries(Object.entries(roots).map(([name, pid]) => [name, (readStat(pid)?.cpuMs ?? 0) + below(pid)]))
}

/** The time that the whole machine was busy, in milliseconds. */
export function machineBusyMs(): number {
  const [user, nice, system, , , irq, softirq] = readFileSync('/proc/stat', 'latin1').split('\n', 1)[0]!.split(/ +/).slice(1).map(Number)
  return (user! + nice! + system! + irq! + softirq!) * tickMs
}

/** The resident memory of one process, in bytes. */
export function residentOf(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))
  if (match === null) throw new Error(`process ${pid} has no VmRSS`)
  return Number(match[1]) * 1024
}
