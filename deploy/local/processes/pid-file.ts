/** The processes that were started from a folder, so that a launcher that follows a killed one knows which to wait for. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { stopTimeoutMs } from './child.ts'
import { writePrivate } from '../state/state-dir.ts'
import { identityOf, signal, until } from './process.ts'

interface Entry {
  name: string
  pid: number
  identity: string
}

const fileOf = (folder: string): string => join(folder, 'processes.json')

export function writeRoster(folder: string, processes: Iterable<{ name: string; pid: number }>): void {
  const entries: Entry[] = [...processes].map(({ name, pid }) => ({ name, pid, identity: identityOf(pid) }))
  writePrivate(fileOf(folder), `${JSON.stringify(entries, null, 2)}\n`)
}

/** The listed processes that still run. */
function survivors(folder: string): Entry[] {
  try {
    const entries = JSON.parse(readFileSync(fileOf(folder), 'utf8')) as Entry[]
    return entries.filter(({ pid, identity }) => identity !== '' && identityOf(pid) === identity)
  } catch {
    return []
  }
}

/** Kills all processes that were started from the folder. */
export function killAll(folder: string): void {
  for (const { pid } of survivors(folder)) signal(pid, 'SIGKILL')
}

/** Waits for the processes of a killed launcher. They exit by themselves without it; processes that hang are killed. */
export async function waitForExit(folder: string, log: (line: string) => void): Promise<void> {
  const left = survivors(folder)
  if (left.length === 0) return
  log(`waiting for what an earlier run left behind: ${left.map(({ name, pid }) => `${name} (process ${pid})`).join(', ')}`)
  if (await until(() => survivors(folder).length === 0, stopTimeoutMs)) return
  killAll(folder)
  await until(() => survivors(folder).length === 0, 2000)
}
