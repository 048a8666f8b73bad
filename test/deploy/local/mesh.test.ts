import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { InUseError } from '../../../deploy/local/state/state-dir.ts'
import { startMesh, type Mesh, type MeshOptions } from '../../../deploy/local/mesh.ts'
import { isAlive, until } from '../../../deploy/local/processes/process.ts'
import { sharedPostgres } from '../../setup/database.ts'
import { placeStandIns, temporaryFolder } from '../folder.ts'

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

/** The environments of all processes by name. */
async function environments(mesh: Mesh): Promise<[string, Record<string, string>][]> {
  const doors = [
    ...Object.entries(mesh.services).map(([name, { grpc }]) => [name, grpc] as const),
    ['gateway', mesh.gateway.slice(7)] as const,
  ]
  return Promise.all(doors.map(async ([name, door]) => [name, await environment(door)] as [string, Record<string, string>]))
}

const pids = (mesh: Mesh): number[] => ['gateway', ...Object.keys(mesh.services)].map((name) => mesh.process(name).pid)

test('every process knows where the others are, and has its own database', async () => {
  const mesh = await start({ replicas: { actions: 2, access: 2 }, env: { LOG_LEVEL: 'debug', MESH_PEERS_FILE: '/not/this/one' } })
  expect(Object.keys(mesh.services)).toEqual(['access', 'access-2', 'actions', 'actions-2', 'idempotency', 'oauth', 'ratelimit'])
  const { access, 'access-2': otherAccess, actions, 'actions-2': second, idempotency, oauth, ratelimit } = mesh.services
  const accessAddress = `${access!.grpc}+${otherAccess!.grpc}`
  const gateway = await environment(mesh.gateway.replace('http://', ''))
  expect(gateway.UPSTREAMS).toBe(
    `access=${accessAddress},actions=${actions!.grpc}+${second!.grpc},idempotency=${idempotency!.grpc},oauth=${oauth!.grpc},` +
      `ratelimit=${ratelimit!.grpc}`,
  )
  expect(gateway.LOG_LEVEL).toBe('debug')
  expect(gateway.MESH_PEERS_FILE).toBe(join(mesh.folder, 'peers.json'))
  expect(gateway.DATABASE_URL).toBe('')

  const [one, two, claims] = await Promise.all([actions!, second!, idempotency!].map(({ grpc }) => environment(grpc)))
  for (const each of [gateway, one, two, claims]) expect(each!.ACCESS_ADDR).toBe(accessAddress)
  expect(one!.IDEMPOTENCY_ADDR).toBe(idempotency!.grpc)
  expect(one!.OAUTH_ADDR).toBe(oauth!.grpc)
  expect(one!.WEBHOOK_ALLOW_PRIVATE).toBe('127.0.0.0/8,::1/128')
  expect(one!.DATABASE_URL).toBe(two!.DATABASE_URL)
  expect(new URL(one!.DATABASE_URL!).pathname).toMatch(/_actions$/)
  expect(new URL(claims!.DATABASE_URL!).pathname).toMatch(/_idempotency$/)
})

/** What only some may know, by who those are. */
const needed: Record<string, string[]> = {
  ACTIONS_SIGNING_SECRET: ['actions', 'gateway'],
  SIGNATURE_ROOT_SECRET: ['access', 'actions', 'gateway'],
  ACCESS_KEY_PEPPER: ['access'],
  ACCESS_SIGNING_SECRET: ['access'],
  AUDIT_HMAC_KEY: ['access'],
  MIGRATION_DATABASE_URL: ['access'],
  AUDIT_RETENTION_DATABASE_URL: ['access'],
  OAUTH_ENCRYPTION_KEY: ['oauth'],
}

test.each([
  ['that local mode made', {}],
  ['that the launcher was given', Object.fromEntries(Object.keys(needed).map((name) => [name, `postgres://given/${name}`]))],
])('each process has the secrets that it needs and no others, also of those %s', async (_, env) => {
  const mesh = await start({ env })
  const told = await environments(mesh)
  for (const [variable, names] of Object.entries(needed)) {
    const holders = told.filter(([, { [variable]: value }]) => value !== undefined && value !== '')
    expect(holders.map(([name]) => name).sort(), variable).toEqual(names)
    expect(new Set(holders.map(([, { [variable]: value }]) => value)).size, variable).toBe(1)
    for (const [, { [variable]: value }] of holders) expect(value!.length, variable).toBeGreaterThan(20)
  }
  // Nobody but the launcher is told how to administer Postgres.
  const admin = new URL(await sharedPostgres())
  for (const [, each] of told) expect(JSON.stringify(each)).not.toContain(admin.password)
})

test('each service proves its name with a key of its own, which all of them know by its public half alone', async () => {
  const mesh = await start({ replicas: { actions: 2 } })
  const seeds = Object.fromEntries((await environments(mesh)).map(([name, { MESH_IDENTITY_KEY }]) => [name, MESH_IDENTITY_KEY!]))
  expect(seeds['actions-2']).toBe(seeds.actions)
  expect(new Set(Object.values(seeds)).size).toBe(6)
  const text = readFileSync(join(mesh.folder, 'peers.json'), 'utf8')
  const peers = JSON.parse(text) as Record<string, string[]>
  expect(Object.keys(peers).sort()).toEqual(['access', 'actions', 'gateway', 'idempotency', 'oauth', 'ratelimit'])
  for (const [name, seed] of Object.entries(seeds)) {
    expect(text).not.toContain(seed)
    // PKCS #8 (RFC 8410) around the seed, read by somebody else: OpenSSL, through Node.
    const der = Buffer.from(`302e020100300506032b657004220420${Buffer.from(seed, 'base64url').toString('hex')}`, 'hex')
    const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
    const signature = sign(null, Buffer.from(name), key)
    const shown = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: peers[name.replace(/-2$/, '')]![0]! }, format: 'jwk' })
    expect(verify(null, Buffer.from(name), shown, signature)).toBe(true)
  }
})

test('access has three roles of its own: one migrates, one serves, one retains', async () => {
  const mesh = await start()
  const told = await environment(mesh.services.access!.grpc)
  const { DATABASE_URL, MIGRATION_DATABASE_URL, AUDIT_RETENTION_DATABASE_URL, AUDIT_HEADS_FILE } = told
  const urls = [MIGRATION_DATABASE_URL, DATABASE_URL, AUDIT_RETENTION_DATABASE_URL].map((url) => new URL(url!))
  expect(new Set(urls.map(({ pathname }) => pathname)).size).toBe(1)
  const database = urls[0]!.pathname.slice(1)
  expect(urls.map(({ username }) => username)).toEqual([database, `${database}_service`, `${database}_retention`])
  expect(AUDIT_HEADS_FILE!.startsWith(mesh.folder)).toBe(true)
  // For its programs, run by hand.
  const file = join(mesh.folder, 'access.env')
  expect(statSync(file).mode & 0o777).toBe(0o600)
  expect(parseEnv(readFileSync(file, 'utf8'))).toMatchObject({ DATABASE_URL, AUDIT_RETENTION_DATABASE_URL, RELAY_ENV: 'local' })
})

test('the first start makes an admin’s key, later ones keep it, and one that access does not know is replaced', async () => {
  const asked = join(home.path, 'asked')
  const env = { STAND_IN_KEYS: asked }
  const first = await start({ env })
  expect(first).toMatchObject({ apiKey: expect.stringMatching(/^rly_local_[0-9A-Za-z]{36}$/), apiKeyIsNew: true })
  const lineOf = (line: string) => JSON.parse(line) as { args: string[]; env: Record<string, string> }
  const calls = () => readFileSync(asked, 'utf8').trim().split('\n').map(lineOf)
  expect(calls()).toHaveLength(1)
  expect(calls()[0]!.args.join(' ')).toBe('create-key --workspace default --role admin --actor local --name local')
  const { DATABASE_URL, ACCESS_KEY_PEPPER } = await environment(first.services.access!.grpc)
  expect(calls()[0]!.env).toMatchObject({ DATABASE_URL, ACCESS_KEY_PEPPER })
  await first.stop()

  const second = await start({ env })
  expect(second).toMatchObject({ apiKey: first.apiKey, apiKeyIsNew: false })
  expect(calls()).toHaveLength(1)
  await second.stop()

  const third = await start({ env: { ...env, STAND_IN_REFUSES: first.apiKey } })
  expect(third.apiKeyIsNew).toBe(true)
  expect(third.apiKey).not.toBe(first.apiKey)
  expect(lines.join('\n')).toContain('access does not accept the stored API key')
  for (const { apiKey } of [first, third]) expect(lines.join('\n')).not.toContain(apiKey)
  await third.stop()
  expect(await start({ env })).toMatchObject({ apiKey: third.apiKey, apiKeyIsNew: false })
})

test('a mesh that cannot make a key says why and leaves nothing running', async () => {
  await expect(start({ env: { STAND_IN_KEYLESS: 'true' } })).rejects.toThrow(/no API key could be created: the stand-in makes no keys/)
  const roster = JSON.parse(readFileSync(join(home.path, 'processes.json'), 'utf8')) as { pid: number }[]
  expect(roster.filter(({ pid }) => isAlive(pid))).toEqual([])
})

test('stopped and started again, it has the same key, the same secrets and the same addresses', async () => {
  const first = await start()
  const lasting = async ({ gateway, apiKey, services }: Mesh): Promise<unknown> => {
    const { ACTIONS_SIGNING_SECRET, MESH_IDENTITY_KEY, DATABASE_URL } = await environment(services.actions!.grpc)
    const { ACCESS_KEY_PEPPER, ACCESS_SIGNING_SECRET, AUDIT_HMAC_KEY, ...access } = await environment(services.access!.grpc)
    const accessKeeps = [ACCESS_KEY_PEPPER, ACCESS_SIGNING_SECRET, AUDIT_HMAC_KEY, access.DATABASE_URL]
    const addresses = Object.values(services).map(({ grpc, admin }) => [grpc, admin])
    return { gateway, apiKey, addresses, accessKeeps, ACTIONS_SIGNING_SECRET, MESH_IDENTITY_KEY, DATABASE_URL }
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
  expect(roster.map(({ name }) => name).sort()).toEqual(['access', 'idempotency', 'oauth', 'ratelimit'])
  expect(roster.filter(({ pid }) => isAlive(pid))).toEqual([])
  await start()
})

test('with a sandbox, oauth and actions know its address, and it knows none of the mesh’s secrets', async () => {
  const mesh = await start({ sandbox: true })
  const told = await environments(mesh)
  const holders = told.filter(([, { RELAY_SANDBOX }]) => RELAY_SANDBOX === mesh.sandbox).map(([name]) => name)
  expect(holders.sort()).toEqual(['actions', 'oauth'])
  const { oauth } = Object.fromEntries(told)
  const sandbox = await environment(mesh.sandbox!.replace('http://', ''))
  expect(sandbox).toMatchObject({ PUBLIC_URL: mesh.gateway, RELAY_ENV: 'local', SANDBOX_CLIENT_SECRET: oauth!.GOOGLE_CLIENT_SECRET })
  expect(oauth).toMatchObject({ PUBLIC_URL: mesh.gateway, GOOGLE_CLIENT_ID: 'relay-sandbox', MICROSOFT_CLIENT_ID: 'relay-sandbox' })
  for (const name of [...Object.keys(needed), 'DATABASE_URL', 'MESH_IDENTITY_KEY']) expect(sandbox[name], name).toBeUndefined()
  const [before, secrets] = [mesh.sandbox, readFileSync(join(mesh.folder, 'oauth.env'), 'utf8')]
  expect(parseEnv(secrets)).toMatchObject({ DATABASE_URL: oauth!.DATABASE_URL, OAUTH_ENCRYPTION_KEY: oauth!.OAUTH_ENCRYPTION_KEY })
  expect(statSync(join(mesh.folder, 'oauth.env')).mode & 0o777).toBe(0o600)
  await mesh.stop()
  const again = await start({ sandbox: true })
  expect(again.sandbox).toBe(before)
  expect((await environment(again.services.oauth!.grpc)).OAUTH_ENCRYPTION_KEY).toBe(oauth!.OAUTH_ENCRYPTION_KEY)
})

test('without a sandbox no process has its address, and only oauth gets a provider’s secret', async () => {
  const mesh = await start({ env: { RELAY_SANDBOX: 'http://127.0.0.1:1', GOOGLE_CLIENT_ID: 'real', GOOGLE_CLIENT_SECRET: 'real-secret' } })
  expect(mesh.sandbox).toBeUndefined()
  const told = await environments(mesh)
  expect(told.filter(([, { RELAY_SANDBOX }]) => RELAY_SANDBOX !== '')).toEqual([])
  expect(told.filter(([, { GOOGLE_CLIENT_SECRET }]) => GOOGLE_CLIENT_SECRET !== undefined).map(([name]) => name)).toEqual(['oauth'])
})

test('one folder has one mesh at a time', async () => {
  await start()
  await expect(start()).rejects.toThrow(InUseError)
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
