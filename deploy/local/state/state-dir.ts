/** The folder of local mode's state (`.relay`): secrets, ports, and the lock of the running launcher. */
import { createHash, randomBytes } from 'node:crypto'
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { identityOf } from '../processes/process.ts'

/**
 * Creates the folder and the one for logs. Other accounts may enter it (under root, Postgres runs as another account); files with secrets
 * are readable by their owner only.
 */
export function prepareHome(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o755 })
  mkdirSync(join(folder, 'logs'), { recursive: true, mode: 0o700 })
}

/** Writes a file atomically, readable by its owner only. */
export function writePrivate(path: string, text: string): void {
  const fresh = `${path}.${process.pid}.new`
  rmSync(fresh, { force: true })
  writeFileSync(fresh, text, { mode: 0o600, flag: 'wx' })
  renameSync(fresh, path)
}

function readTable(path: string): Record<string, string> {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {}
    throw error
  }
  try {
    return JSON.parse(text) as Record<string, string>
  } catch (error) {
    throw new Error(`${path} is not JSON: fix it, or remove it to start again`, { cause: error })
  }
}

const writeTable = (path: string, table: Record<string, string>): void => writePrivate(path, `${JSON.stringify(table, null, 2)}\n`)

/** The file of the secrets, readable by its owner only. */
export const secretsFile = (folder: string): string => join(folder, 'secrets.json')

/** A stored secret. */
export const knownSecret = (folder: string, name: string): string | undefined => readTable(secretsFile(folder))[name]

export function keepSecret(folder: string, name: string, value: string): void {
  writeTable(secretsFile(folder), { ...readTable(secretsFile(folder)), [name]: value })
}

/** A secret that is created when it is first needed, and stored. */
export function storedSecret(folder: string, name: string, make = (): string => randomBytes(32).toString('base64url')): string {
  const kept = knownSecret(folder, name)
  if (kept !== undefined) return kept
  const made = make()
  keepSecret(folder, name, made)
  return made
}

/** The last port of a process or server. */
export function storedPort(folder: string, name: string): number | undefined {
  const port = Number(readTable(join(folder, 'ports.json'))[name])
  return Number.isInteger(port) && port > 0 ? port : undefined
}

export function keepPort(folder: string, name: string, port: number): void {
  const path = join(folder, 'ports.json')
  const table = readTable(path)
  if (table[name] !== String(port)) writeTable(path, { ...table, [name]: String(port) })
}

/** Whether a port of the loopback address is free now. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => server.close(() => resolve(true)))
  })
}

/** The wanted port of the loopback address if it is free, or 0: the process then takes any port and reports it. */
export const portOrAny = async (wanted?: number): Promise<number> => (wanted !== undefined && (await isFree(wanted)) ? wanted : 0)

/** Reserves a port until it is released: for a port that others must know before it is listened on. */
export async function reservePort(wanted?: number): Promise<{ port: number; release(): Promise<void> }> {
  const server = createServer()
  const listen = (port: number): Promise<boolean> =>
    new Promise((resolve) => {
      server.once('error', () => resolve(false))
      server.listen({ host: '127.0.0.1', port, exclusive: true }, () => resolve(true))
    })
  if (!(wanted !== undefined && (await listen(wanted))) && !(await listen(0))) throw new Error('no port of the loopback address is free')
  server.removeAllListeners('error')
  const { port } = server.address() as AddressInfo
  return { port, release: () => new Promise((resolve) => server.close(() => resolve())) }
}

/** The wanted port of the loopback address if it is free, or any free one: for programs that cannot choose a port themselves. */
export async function freePort(wanted?: number): Promise<number> {
  if (wanted !== undefined && (await isFree(wanted))) return wanted
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen({ host: '127.0.0.1', port: 0 }, () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}

/** A short name for a folder, the same each time. */
export const nameOf = (folder: string): string => createHash('sha256').update(folder).digest('hex').slice(0, 16)

export interface Lock {
  release(): void
}

export class InUseError extends Error {
  override readonly name = 'InUseError'
  readonly pid: number
  constructor(path: string, pid: number) {
    super(`${path} is held by process ${pid}`)
    this.pid = pid
  }
}

/** Takes a lock file. Throws InUseError while the process that holds it lives. The lock of a killed process is taken over. */
export function takeLock(path: string): Lock {
  const mine = `${process.pid} ${identityOf(process.pid)}`
  const fresh = `${path}.${process.pid}`
  // Linked into place with its content, so that no process reads a lock that is half written.
  writeFileSync(fresh, mine, { mode: 0o600 })
  try {
    for (let tries = 0; ; tries += 1) {
      try {
        linkSync(fresh, path)
        return { release: () => rmSync(path, { force: true }) }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || tries > 3) throw error
      }
      const [pid, ...identity] = (readOrEmpty(path) || '0').split(' ')
      const holder = Number(pid)
      if (holder > 0 && identityOf(holder) === identity.join(' ')) throw new InUseError(path, holder)
      rmSync(path, { force: true })
    }
  } finally {
    rmSync(fresh, { force: true })
  }
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
