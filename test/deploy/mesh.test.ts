import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { HeldError } from '../../deploy/local/home.ts'
import { startMesh, type Mesh, type MeshOptions } from '../../deploy/local/mesh.ts'
import { isAlive, until } from '../../deploy/local/process.ts'
import { sharedPostgres } from '../setup/database.ts'
import { placeStandIns, temporaryFolder } from './folder.ts'

const root = temporaryFolder()
let home: ReturnType<typeof temporaryFolder>
let meshes: Mesh[] = []
let lines: string[] = []
let databases = 0

beforeAll(() => placeStandIns(root.path))
afterAll(() => root.remove())
beforeEach(() => {
  home = temporaryFolder()
  lines = []
  databases += 1
})
afterEach(async () => {
  await Promise.all(meshes.map((mesh) => mesh.stop()))
  meshes = []
  home.remove()
})

async function start(options: Partial<MeshOptions> = {}): Promise<Mesh> {
  const mesh = await startMesh({
    folder: home.path,
    root: root.path,
    databaseUrl: await sharedPostgres(),
    databasePrefix: `deploy${process.pid}_${databases}`,
    log: (line) => lines.push(line),
    ...options,
  })
  meshes.push(mesh)
  return mesh
}

/** The environment that a stand-in was started with. */
const environment = async (address: string): Promise<Record<string, string>> =>
  (await (await fetch(`http://${address}`)).json()) as Record<string, string>

const pids = (mesh: Mesh): number[] => ['gateway', ...Object.keys(mesh.services)].map((name) => mesh.process(name).pid)

test('every process is told where the others are, and has a database of its own', async () => {
  const mesh = await start({ replicas: { actions: 2 }, env: { LOG_LEVEL: 'debug', RELAY_STATIC_KEY: 'not to be replaced' } })
  expect(Object.keys(mesh.services)).toEqual(['actions', 'actions-2', 'idempotency', 'ratelimit'])
  const { actions, 'actions-2': second, idempotency, ratelimit } = mesh.services
  const gateway = await environment(mesh.gateway.replace('http://', ''))
  expect(gateway.UPSTREAMS).toBe(`actions=${actions!.grpc}+${second!.grpc},idempotency=${idempotency!.grpc},ratelimit=${ratelimit!.grpc}`)
  expect(gateway.LOG_LEVEL).toBe('debug')
  expect(gateway.RELAY_STATIC_KEY).toBe(mesh.apiKey)
  expect(gateway.DATABASE_URL).toBe('')

  const [one, two, claims] = await Promise.all([actions!, second!, idempotency!].map(({ grpc }) => environment(grpc)))
  expect(one!.IDEMPOTENCY_ADDR).toBe(idempotency!.grpc)
  expect(one!.WEBHOOK_ALLOW_PRIVATE).toBe('127.0.0.0/8,::1/128')
  expect(one!.DATABASE_URL).toBe(two!.DATABASE_URL)
  expect(new URL(one!.DATABASE_URL!).pathname).toMatch(/_actions$/)
  expect(new URL(claims!.DATABASE_URL!).pathname).toMatch(/_idempotency$/)
  expect(gateway.ACTIONS_SIGNING_SECRET).toBe(one!.ACTIONS_SIGNING_SECRET)
  expect(gateway.ACTIONS_SIGNING_SECRET!.length).toBeGreaterThanOrEqual(43)
})

test('stopped and started again, it has the same key, the same secrets and the same addresses', async () => {
  const first = await start()
  const lasting = async ({ gateway, services }: Mesh): Promise<unknown> => {
    const { RELAY_STATIC_KEY, ACTIONS_SIGNING_SECRET, MESH_PEER_SECRET, DATABASE_URL } = await environment(services.actions!.grpc)
    const addresses = Object.values(services).map(({ grpc, admin }) => [grpc, admin])
    return { gateway, addresses, RELAY_STATIC_KEY, ACTIONS_SIGNING_SECRET, MESH_PEER_SECRET, DATABASE_URL }
  }
  const before = await lasting(first)
  const old = pids(first)
  await first.stop()
  expect(old.filter(isAlive)).toEqual([])
  expect(await lasting(await start())).toEqual(before)
})

test('a process that dies unasked comes back where it was; one that was killed on purpose stays away until restarted', async () => {
  let starts = 0
  const mesh = await start({ onStart: () => (starts += 1) })
  const before = mesh.services.actions!
  process.kill(before.pid, 'SIGKILL')
  expect(await until(() => starts === 1, 10_000)).toBe(true)
  expect(mesh.services.actions).toEqual({ ...before, pid: expect.any(Number) })
  expect(mesh.services.actions!.pid).not.toBe(before.pid)
  expect((await environment(before.grpc)).GRPC_LISTEN).toBe(before.grpc)
  expect(lines.join('\n')).toMatch(/actions \(process \d+\) ended with SIGKILL/)

  const actions = mesh.process('actions')
  await actions.kill()
  expect(actions.isRunning()).toBe(false)
  await actions.restart()
  expect(mesh.services.actions!.grpc).toBe(before.grpc)
  expect((await environment(before.admin)).ADMIN_LISTEN).toBe(before.admin)
})

test('a process that keeps dying ends the whole, with a sentence that names it', async () => {
  const env: Record<string, string> = {}
  let failure = ''
  const mesh = await start({ env, onFailure: (error) => (failure = error.message) })
  env.STAND_IN_BROKEN = '/ratelimit/'
  process.kill(mesh.services.ratelimit!.pid, 'SIGKILL')
  expect(await until(() => failure !== '', 20_000)).toBe(true)
  expect(failure).toMatch(/^ratelimit ended 5 times within 60 s/)
  expect(lines.join('\n')).toContain('the stand-in was told to break')
})

test('a mesh that cannot start says why and leaves nothing running', async () => {
  const why = /actions ended with exit code 1; .*actions\.log ends with\n[^]*told to break/
  await expect(start({ env: { STAND_IN_BROKEN: '/actions/' } })).rejects.toThrow(why)
  const roster = JSON.parse(readFileSync(join(home.path, 'processes.json'), 'utf8')) as { name: string; pid: number }[]
  expect(roster.map(({ name }) => name).sort()).toEqual(['idempotency', 'ratelimit'])
  expect(roster.filter(({ pid }) => isAlive(pid))).toEqual([])
  await start()
})

test('one folder has one mesh at a time', async () => {
  await start()
  await expect(start()).rejects.toThrow(HeldError)
})

test('the gateway takes another port when the wanted one is taken, and says so', async () => {
  const first = await start()
  const taken = Number(new URL(first.gateway).port)
  const other = temporaryFolder()
  try {
    const second = await start({ folder: other.path, gatewayPort: taken })
    expect(second.gateway).not.toBe(first.gateway)
    expect(lines.join('\n')).toContain(`port ${taken} is taken: the gateway takes ${new URL(second.gateway).port} instead`)
    await second.stop()
  } finally {
    other.remove()
  }
})
