import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Client } from 'pg'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { canReach } from '../../../../deploy/local/postgres/account.ts'
import { createServiceDatabase } from '../../../../deploy/local/postgres/databases.ts'
import { InUseError } from '../../../../deploy/local/state/state-dir.ts'
import { startPostgres, type Postgres } from '../../../../deploy/local/postgres/server.ts'
import { isAlive, until } from '../../../../deploy/local/processes/process.ts'
import { checkout, temporaryFolder } from '../../folder.ts'

let folder: ReturnType<typeof temporaryFolder>
let started: Postgres[] = []

beforeEach(() => {
  folder = temporaryFolder()
})
afterEach(async () => {
  await Promise.all(started.map((each) => each.stop()))
  started = []
  folder.remove()
})

async function start(options: Partial<Parameters<typeof startPostgres>[0]> = {}): Promise<Postgres> {
  const postgres = await startPostgres({ folder: folder.path, durable: false, ...options })
  started.push(postgres)
  return postgres
}

async function query(url: string, sql: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url })
  client.on('error', () => undefined)
  try {
    await client.connect()
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}

/** Another process that starts Postgres on the folder; resolves with its id and Postgres's. */
async function startElsewhere(): Promise<{ launcher: number; postgres: number; guard: number }> {
  const code = `
    const { startPostgres } = await import(${JSON.stringify(join(checkout, 'deploy/local/postgres/server.ts'))})
    const postgres = await startPostgres({ folder: ${JSON.stringify(folder.path)}, durable: false })
    console.log(postgres.pid)
    setInterval(() => undefined, 1000)`
  const launcher = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { PATH: process.env.PATH },
  })
  const [pid] = (await once(createInterface(launcher.stdout), 'line')) as [string]
  const guard = Number(/PPid:\s*(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
  return { launcher: launcher.pid!, postgres: Number(pid), guard }
}

test('committed data survives a clean stop and a crash, on the same port', async () => {
  const postgres = await start({ durable: true })
  await query(postgres.adminUrl, 'CREATE TABLE kept AS SELECT 1 AS n')
  const before = { port: postgres.port, url: postgres.adminUrl }
  for (const end of [() => postgres.stop(), () => postgres.kill(), () => postgres.kill('SIGQUIT')]) {
    const { pid } = postgres
    await end()
    expect(isAlive(pid)).toBe(false)
    await postgres.start()
    expect({ port: postgres.port, url: postgres.adminUrl }).toEqual(before)
    expect(await query(postgres.adminUrl, 'SELECT n FROM kept')).toEqual([{ n: 1 }])
  }
  expect(await query(postgres.adminUrl, 'SHOW fsync')).toEqual([{ fsync: 'on' }])

  await postgres.stop()
  const again = await start()
  expect(again.port).toBe(before.port)
  expect(await query(again.adminUrl, 'SELECT n FROM kept')).toEqual([{ n: 1 }])
})

test('only this machine can connect, only with the password, and only its owner can read the password', async () => {
  const postgres = await start()
  expect(await query(postgres.adminUrl, 'SHOW listen_addresses')).toEqual([{ listen_addresses: '127.0.0.1' }])
  const wrong = postgres.url('postgres', { name: 'relay', password: 'guess' })
  await expect(query(wrong, 'SELECT 1')).rejects.toThrow(/password authentication failed/)
  for (const { address } of Object.values(networkInterfaces()).flatMap((each) => each ?? [])) {
    if (address.startsWith('127.') || address.includes(':')) continue
    await expect(query(postgres.adminUrl.replace('127.0.0.1', address), 'SELECT 1')).rejects.toThrow(/ECONNREFUSED/)
  }
  expect(statSync(join(folder.path, 'secrets.json')).mode & 0o777).toBe(0o600)
  expect(existsSync(join(postgres.data, '../password'))).toBe(false)
})

test('a service can use its own database and cannot enter the one of another', async () => {
  const postgres = await start()
  const { owner: one } = await createServiceDatabase(postgres, 'one')
  const { owner: two } = await createServiceDatabase(postgres, 'two')
  await query(one, 'CREATE TABLE mine (n int)')
  expect(await query(one, 'SELECT current_user AS who, current_database() AS here')).toEqual([{ who: 'one', here: 'one' }])
  await expect(query(two.replace(/two$/, 'one'), 'SELECT 1')).rejects.toThrow(/permission denied for database "one"/)
  expect(await createServiceDatabase(postgres, 'one')).toEqual({ owner: one })
  expect(await query(one, "SELECT count(*)::int AS tables FROM pg_tables WHERE schemaname = 'public'")).toEqual([{ tables: 1 }])
})

test('a service’s further roles may enter its database and do nothing there that they were not granted', async () => {
  const postgres = await start()
  const { owner, reader } = await createServiceDatabase(postgres, 'three', ['reader'])
  await query(owner, 'CREATE TABLE mine (n int)')
  expect(await query(reader, 'SELECT current_user AS who')).toEqual([{ who: 'three_reader' }])
  for (const sql of ['SELECT * FROM mine', 'CREATE TABLE another (n int)', 'DROP TABLE mine']) {
    await expect(query(reader, sql)).rejects.toThrow(/permission denied|must be owner/)
  }
  await query(owner, 'GRANT SELECT ON mine TO three_reader')
  expect(await query(reader, 'SELECT * FROM mine')).toEqual([])
  const { owner: other } = await createServiceDatabase(postgres, 'four')
  await expect(query(reader.replace(/three$/, 'four'), 'SELECT 1')).rejects.toThrow(/permission denied for database "four"/)
  await expect(query(other.replace(/four$/, 'three'), 'SELECT 1')).rejects.toThrow(/permission denied for database "three"/)
})

test('one folder has one Postgres at a time', async () => {
  await start()
  await expect(startPostgres({ folder: folder.path })).rejects.toThrow(InUseError)
})

test('an unexpected death is reported, with the end of the log', async () => {
  let told = ''
  const postgres = await start({ onDeath: (lines) => (told = lines) })
  process.kill(postgres.pid, 'SIGQUIT')
  expect(await until(() => told !== '', 5000)).toBe(true)
  expect(told).toMatch(/immediate shutdown/)
})

test.runIf(process.platform === 'linux')('a launcher that is killed leaves no Postgres running', async () => {
  const { launcher, postgres } = await startElsewhere()
  process.kill(launcher, 'SIGKILL')
  expect(await until(() => !isAlive(postgres), 10_000)).toBe(true)
  const mine = await start()
  expect(await query(mine.adminUrl, 'SELECT 1 AS n')).toEqual([{ n: 1 }])
})

test.runIf(process.platform === 'linux')('a Postgres that was left behind all the same is stopped by the next start', async () => {
  const { launcher, postgres, guard } = await startElsewhere()
  // The group of the guard without Postgres: the guard first, so that it cannot stop Postgres.
  // The launcher is stopped meanwhile: it would react to the end of its guard.
  process.kill(launcher, 'SIGSTOP')
  const watchers = readFileSync(`/proc/${guard}/task/${guard}/children`, 'utf8').trim().split(' ').map(Number)
  process.kill(guard, 'SIGKILL')
  for (const pid of watchers) if (pid !== postgres) process.kill(pid, 'SIGKILL')
  process.kill(launcher, 'SIGKILL')
  expect(isAlive(postgres)).toBe(true)

  const lines: string[] = []
  const mine = await start({ log: (line) => lines.push(line) })
  expect(lines.join()).toContain(`left behind (process ${postgres})`)
  expect(isAlive(postgres)).toBe(false)
  expect(await query(mine.adminUrl, 'SELECT 1 AS n')).toEqual([{ n: 1 }])
})

test.runIf(process.getuid?.() === 0)('under a folder that only root can enter, the data goes where Postgres can', async () => {
  const closed = join(folder.path, 'closed')
  mkdirSync(closed, { mode: 0o700 })
  const lines: string[] = []
  const postgres = await start({ folder: join(closed, '.relay'), log: (line) => lines.push(line) })
  try {
    expect(postgres.data.startsWith(folder.path)).toBe(false)
    expect(lines.join('\n')).toContain(`its data is in ${postgres.data}`)
    const { uid, gid, mode } = statSync(postgres.data)
    expect(mode & 0o077).toBe(0)
    expect(canReach({ name: '', uid, gid }, postgres.data)).toBe(true)
    expect(await query(postgres.adminUrl, 'SELECT 1 AS n')).toEqual([{ n: 1 }])
  } finally {
    await postgres.stop()
    rmSync(join(postgres.data, '..'), { recursive: true, force: true })
  }
})
