/** Postgres does not run as root. Under root it gets an unprivileged account, which cannot access everything that root can. */
import { execFileSync, spawnSync } from 'node:child_process'

export interface Account {
  name: string
  uid: number
  gid: number
}

const idOf = (flag: '-u' | '-g', name: string): number =>
  Number(execFileSync('id', [flag, name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }))

/** The account that Postgres runs as; undefined is the current one. */
export function postgresAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined
  for (const name of ['postgres', 'nobody']) {
    try {
      return { name, uid: idOf('-u', name), gid: idOf('-g', name) }
    } catch {
      // The account does not exist: try the next.
    }
  }
  throw new Error('Postgres refuses to run as root, and there is no account "postgres" or "nobody" for it. Add one: useradd -r postgres')
}

/** Runs a command as the account. Returns whether it succeeded. */
export const succeedsAs = (account: Account, command: string, ...args: string[]): boolean =>
  spawnSync(command, args, { uid: account.uid, gid: account.gid, cwd: '/', stdio: 'ignore' }).status === 0

/** Whether the account can enter a folder. A checkout under /root, for example, is closed to it. */
export const canReach = (account: Account, folder: string): boolean => succeedsAs(account, '/bin/sh', '-c', 'cd -- "$1"', 'sh', folder)
