import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { freePort } from '../../../deploy/local/state/state-dir.ts'
import { isAlive, until } from '../../../deploy/local/processes/process.ts'
import { placeLauncher, temporaryFolder } from '../folder.ts'

interface Description {
  gateway: string
  gateway_pid: number
  api_key: string
  services: Record<string, { grpc: string; admin: string; pid: number }>
  receiver: string
  sandbox: string
  postgres: { port: number; pid: number; data: string }
  started_at: string
}

let root: ReturnType<typeof temporaryFolder>
let launcher: string
let launched: ChildProcess[] = []

beforeEach(() => {
  root = temporaryFolder()
  launcher = placeLauncher(root.path)
})
afterEach(async () => {
  for (const each of launched) {
    if (each.exitCode === null && each.signalCode === null) {
      each.kill('SIGTERM')
      await once(each, 'exit')
    }
  }
  launched = []
  root.remove()
})

interface Up {
  child: ChildProcess
  said: () => string
  /** Waits until it has said something, or has ended. */
  says: (text: string) => Promise<boolean>
  ended: Promise<number | null>
}

async function up(env: Record<string, string> = {}): Promise<Up> {
  const child = spawn(process.execPath, [launcher], {
    cwd: root.path,
    env: { PATH: process.env.PATH, RELAY_PORT: String(await freePort()), STAND_IN_ENDINGS: join(root.path, 'endings'), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  launched.push(child)
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (text += chunk.toString()))
  const ended = once(child, 'close').then(([code]) => code as number | null)
  const says = async (wanted: string): Promise<boolean> => {
    await until(() => text.includes(wanted) || child.exitCode !== null, 25_000)
    return text.includes(wanted)
  }
  return { child, said: () => text, says, ended }
}

const file = (): string => join(root.path, '.relay/local.json')
const describe = (): Description => JSON.parse(readFileSync(file(), 'utf8')) as Description
const pidsOf = ({ gateway_pid, services, postgres }: Description): number[] => [
  gateway_pid,
  postgres.pid,
  ...Object.values(services).map(({ pid }) => pid),
]

test('it says where everything is, shows what the receiver gets, and Ctrl-C stops it all in order', async () => {
  const run = await up()
  expect(await run.says('expired-or-invalid'), run.said()).toBe(true)
  const told = describe()
  expect(statSync(file()).mode & 0o777).toBe(0o600)
  expect(Object.keys(told.services)).toEqual(['access', 'actions', 'idempotency', 'oauth', 'ratelimit'])
  expect(pidsOf(told).every(isAlive)).toBe(true)
  expect((await fetch(told.sandbox)).status).toBe(200)
  const facts = [told.gateway, told.api_key, told.receiver, told.sandbox, ...Object.values(told.services).map(({ grpc }) => grpc)]
  for (const fact of facts) expect(run.said()).toContain(fact)
  expect(run.said().match(/^curl |^(?:PREVIEW|START)=\$\(curl /gm)).toHaveLength(9)

  await fetch(`${told.receiver}/hook`, { method: 'POST', body: '{"test":"\u001b[2J"}', headers: { 'x-signature': 'ab'.repeat(32) } })
  expect(await run.says('"POST /hook"')).toBe(true)
  expect(run.said()).not.toContain('\u001b')

  run.child.kill('SIGINT')
  expect(await run.ended).toBe(0)
  expect(run.said()).toContain('Everything is stopped.')
  expect(pidsOf(told).filter(isAlive)).toEqual([])
  expect(existsSync(file())).toBe(false)
  const endings = readFileSync(join(root.path, 'endings'), 'utf8').trim().split('\n')
  expect(endings.slice(0, 2)).toEqual(['gateway SIGTERM', 'actions SIGTERM'])
  expect(endings.slice(2, 5).sort()).toEqual(['idempotency SIGTERM', 'oauth SIGTERM', 'ratelimit SIGTERM'])
  expect(endings.slice(5)).toEqual(['access SIGTERM'])
  await expect(fetch(told.sandbox)).rejects.toThrow('fetch failed')
})

test('killed outright it leaves nothing running, and the next start finds the same data on the same addresses', async () => {
  const port = String(await freePort())
  const first = await up({ RELAY_PORT: port })
  expect(await first.says('expired-or-invalid'), first.said()).toBe(true)
  const before = describe()
  first.child.kill('SIGKILL')
  expect(await until(() => pidsOf(before).every((pid) => !isAlive(pid)), 15_000)).toBe(true)

  const second = await up({ RELAY_PORT: port })
  expect(await second.says('expired-or-invalid'), second.said()).toBe(true)
  const after = describe()
  expect(after.started_at).not.toBe(before.started_at)
  expect(second.said()).not.toContain('creating the database files')
  // The key was shown once; the line to paste reads it, from any folder and in any shell.
  expect(first.said().split(before.api_key)).toHaveLength(2)
  expect(second.said()).not.toContain(before.api_key)
  expect(second.said()).toContain('kept in .relay/secrets.json')
  const line = /^KEY=.*$/m.exec(second.said())![0]
  expect(execFileSync('/bin/sh', ['-c', `${line}; echo "$KEY"`], { cwd: '/', encoding: 'utf8' }).trim()).toBe(before.api_key)
  const lasting = ({ gateway, api_key, receiver, sandbox, postgres, services }: Description): unknown => [
    gateway,
    api_key,
    receiver,
    sandbox,
    postgres.port,
    postgres.data,
    Object.values(services).map(({ grpc, admin }) => [grpc, admin]),
  ]
  expect(lasting(after)).toEqual(lasting(before))
})

test('a second one from the same folder is refused and harms nothing', async () => {
  const first = await up()
  expect(await first.says('Relay runs'), first.said()).toBe(true)
  const told = describe()
  const second = await up()
  expect(await second.ended).toBe(1)
  expect(second.said()).toContain(`Relay already runs from this folder (process ${first.child.pid})`)
  expect(pidsOf(told).every(isAlive)).toBe(true)
  expect(describe()).toEqual(told)
})

test('Ctrl-C while it is starting ends it, with nothing left running', async () => {
  const run = await up()
  expect(await run.says('starting Postgres')).toBe(true)
  run.child.kill('SIGINT')
  expect(await run.ended).toBe(0)
  expect(existsSync(file())).toBe(false)
  const again = await up()
  expect(await again.says('Relay runs'), again.said()).toBe(true)
})

test('a variable that makes no sense is named before anything starts', async () => {
  const run = await up({ RELAY_PORT: 'eighty' })
  expect(await run.ended).toBe(1)
  expect(run.said()).toContain('RELAY_PORT is "eighty"')
  expect(existsSync(join(root.path, '.relay'))).toBe(false)
})
