/**
 * Runs a foreign server (Postgres, Redis) under a small shell that stops it when its parent is gone. The kernel closes the shell's standard
 * input when the parent dies for any reason, so nothing keeps running after a SIGKILL, which no handler could see.
 */
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { closeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import type { Account } from '../postgres/account.ts'
import { openLog, signal } from './process.ts'

// Inline, because the account that it runs as may not be able to read the checkout. CONT: a paused process handles no other signal.
const script = `
signal=$1; shift
exec 3<&0
"$@" </dev/null >&2 3<&- &
child=$!
echo $child
exec >&-
( while read -r line <&3; do :; done; kill -s "$signal" $child; kill -s CONT $child ) 2>/dev/null &
watcher=$!
exec 3<&-
wait $child
status=$?
kill $watcher 2>/dev/null
exit $status`

export interface GuardedOptions {
  command: string
  args: readonly string[]
  /** The signal that stops it cleanly. */
  stopSignal: NodeJS.Signals
  /** The file that its output is appended to. */
  log: string
  account?: Account | undefined
}

export interface SupervisedProcess {
  readonly pid: number
  /** Where this run begins in the log, in bytes. */
  readonly logStart: number
  readonly exited: Promise<void>
  isRunning(): boolean
  signal(name: NodeJS.Signals): void
}

/** Starts it. The caller finds out when it is ready. */
export async function startGuarded(options: GuardedOptions): Promise<SupervisedProcess> {
  const log = openLog(options.log)
  const shell = spawn('/bin/sh', ['-c', script, 'guard', options.stopSignal.replace('SIG', ''), options.command, ...options.args], {
    cwd: '/',
    // Its own process group, so that Ctrl-C in the terminal reaches only the launcher, which stops processes in order.
    detached: true,
    stdio: ['pipe', 'pipe', log.fd],
    // Nothing from the launcher's environment: PG* variables would change what Postgres does.
    env: { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' },
    ...(options.account === undefined ? {} : { uid: options.account.uid, gid: options.account.gid }),
  }) as ChildProcessByStdio<Writable, Readable, null>
  closeSync(log.fd)
  shell.stdin.on('error', () => undefined)
  let running = true
  const exited = new Promise<void>((resolve) => {
    const end = (): void => {
      running = false
      resolve()
    }
    shell.once('exit', end)
    shell.once('error', end)
  })
  await once(shell, 'spawn')
  const [pid] = (await once(createInterface(shell.stdout), 'line')) as [string]
  return {
    pid: Number(pid),
    logStart: log.size,
    exited,
    isRunning: () => running,
    signal: (name) => {
      if (running) signal(Number(pid), name)
    },
  }
}
