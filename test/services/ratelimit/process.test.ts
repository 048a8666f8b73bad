import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeAll, expect, test, vi } from 'vitest'
import { type Decision, RateLimitServiceService } from '#gen/relay/ratelimit/v1/ratelimit.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import { Channel, methodsOf } from '#mesh/grpc/client.ts'
import { compileCache } from '../../setup/compile-cache.ts'
import { type Redis, startRedis } from '../../../deploy/local/redis.ts'
import { fakeMesh, startFakeAccess } from '../../fakes/identity.ts'

const main = fileURLToPath(new URL('../../../services/ratelimit/main.ts', import.meta.url))
const limitsFile = fileURLToPath(new URL('../../../deploy/local/limits.yaml', import.meta.url))
const mesh = fakeMesh()
const own: Record<string, string> = mesh.env('ratelimit')
beforeAll(async () => {
  const access = await startFakeAccess(mesh)
  own.ACCESS_ADDR = access.address
  return () => access.stop()
})

let ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.reverse()) await end()
  ends = []
})

interface Running {
  process: ChildProcess
  lines: Record<string, unknown>[]
  check: (workspace: string, hits?: number) => Promise<Decision>
  call: ReturnType<typeof methodsOf<typeof RateLimitServiceService>>
  admin: (path: string) => Promise<string>
}

/** The service as a process of its own. */
async function start(env: Record<string, string> = {}): Promise<Running> {
  const child = spawn(process.execPath, [main], {
    env: { PATH: process.env.PATH, NODE_COMPILE_CACHE: compileCache, RELAY_ENV: 'test', ...own, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const exited = once(child, 'exit')
  ends.push(async () => {
    child.kill('SIGKILL')
    await exited
  })
  let output = ''
  const lines: Record<string, unknown>[] = []
  child.stdout.on('data', (data: Buffer) => {
    output += data.toString()
    const whole = output.split('\n')
    output = whole.pop()!
    lines.push(...whole.map((line) => JSON.parse(line) as Record<string, unknown>))
  })
  child.stderr.on('data', (data: Buffer) => lines.push({ stderr: data.toString() }))
  await vi.waitFor(() => expect(lines).toContainEqual(expect.objectContaining({ event: 'listening' })), { timeout: 15_000 })
  const { grpc, admin } = lines.find(({ event }) => event === 'listening') as { grpc: string; admin: string }
  const channel = new Channel({ address: grpc, peerToken: mesh.peerToken('gateway') })
  ends.push(() => channel.close())
  const call = methodsOf(RateLimitServiceService, channel)
  const check: Running['check'] = async (workspace, hits = 1) => {
    const request = { domain: 'relay', descriptors: [{ entries: [{ key: 'workspace', value: workspace }] }], hits }
    return (await answered(() => call.check(request, ownContext()))).decisions[0]!
  }
  return { process: child, lines, check, call, admin: async (path) => (await fetch(`http://${admin}${path}`)).text() }
}

/** The contract gives a call 150 ms, which a process that has just started, or a busy machine, may miss. */
const answered = <T>(call: () => Promise<T>): Promise<T> =>
  call().catch((error: { code?: string }) => {
    if (error.code !== 'DEADLINE_EXCEEDED') throw error
    return answered(call)
  })

const messages = ({ lines }: Running) => lines.map(({ msg }) => msg)

test('without REDIS_URL it decides from its own buckets and says so', async () => {
  const service = await start({ RATELIMIT_FILE: limitsFile })
  await vi.waitFor(() => expect(messages(service)).toContain('Using in-process backend'))
  // A first call that is given up and asked again would count twice.
  await service.check('another')
  const decision = await service.check('acme', 200)
  expect(decision).toMatchObject({ source: 'SOURCE_IN_PROCESS', granted: 200, limit: 600, windowSeconds: 60 })
  expect((await service.check('acme', 10_000)).granted).toBeLessThan(450)
  expect((await service.check('acme', 10_000)).granted).toBeLessThan(50)
  expect(JSON.parse(await service.admin('/readyz'))).toEqual({ ready: true, checks: { redis: true } })
  // 0 hits are one.
  await service.check('globex', 0)
  expect((await service.check('globex', 0)).remaining).toBeLessThan(600)
})

test('a call from outside the mesh is refused, and so is one that the contract does not allow', async () => {
  const service = await start()
  const nobody = new Channel({ address: (service.lines.find(({ event }) => event === 'listening') as { grpc: string }).grpc })
  ends.push(() => nobody.close())
  const request = { domain: 'relay', descriptors: [{ entries: [{ key: 'workspace', value: 'acme' }] }], hits: 1 }
  const refused = answered(() => methodsOf(RateLimitServiceService, nobody).check(request, ownContext()))
  await expect(refused).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
  const wrong = answered(() => service.call.check({ ...request, descriptors: [] }, ownContext()))
  await expect(wrong).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
})

test('a limits file that is wrong stops it at once, with the path of the mistake', async () => {
  const child = spawn(process.execPath, [main], {
    env: { PATH: process.env.PATH, NODE_COMPILE_CACHE: compileCache, ...own, RATELIMIT_FILE: main },
  })
  let output = ''
  child.stderr.on('data', (data: Buffer) => (output += data.toString()))
  const [code] = (await once(child, 'close')) as [number]
  expect(code).toBe(78)
  expect(output).toContain('RATELIMIT_FILE')
  expect(output).toContain('ratelimit/main.ts: ')
})

let redis: Redis
beforeAll(() => () => redis?.stop())

test('with REDIS_URL it shares its windows, goes on in time without Redis, counts that and logs it once, and comes back', async () => {
  redis = await startRedis()
  const [one, two] = [await start({ REDIS_URL: redis.url }), await start({ REDIS_URL: redis.url })]
  await vi.waitFor(() => expect(messages(one)).toContain('Using Redis backend'))
  const total = async () => (await one.check('shared', 600)).granted + (await two.check('shared', 600)).granted
  // A minute may end between the two: then they are in two windows.
  await vi.waitFor(async () => expect(await total()).toBeLessThanOrEqual(600), { timeout: 5000 })

  redis.pause()
  const slow = await one.check('acme')
  expect(slow).toMatchObject({ source: 'SOURCE_FALLBACK', granted: 1, limit: 600 })
  for (let index = 0; index < 50; index += 1) expect((await one.check('acme')).granted).toBe(1)
  const away = 'Redis does not respond; deciding from in-process buckets'
  await vi.waitFor(() => expect(messages(one).filter((message) => message === away)).toHaveLength(1))
  const metrics = await one.admin('/metrics')
  const count = (labels: string) => Number(new RegExp(`${labels},service="ratelimit"\\} (\\d+)\n`).exec(metrics)?.[1] ?? 0)
  // At the first decision Redis was waited for, and never again.
  expect(count('ratelimit_fallback_total\\{reason="timeout"')).toBe(1)
  expect(count('ratelimit_fallback_total\\{reason="open"')).toBeGreaterThanOrEqual(50)
  expect(count('ratelimit_decisions_total\\{source="fallback",outcome="granted"')).toBeGreaterThanOrEqual(51)
  expect(metrics).toMatch(/ratelimit_backend_up\{service="ratelimit"\} 0\n/)
  // It serves on: Redis is optional.
  expect(JSON.parse(await one.admin('/readyz'))).toEqual({ ready: true, checks: { redis: false } })

  redis.resume()
  await vi.waitFor(async () => expect((await one.check('acme')).source).toBe('SOURCE_REDIS'), { timeout: 15_000 })
  expect(await one.admin('/metrics')).toMatch(/ratelimit_backend_up\{service="ratelimit"\} 1\n/)
  await vi.waitFor(() => expect(messages(one)).toContain('Redis responds again; limits are shared again'))

  one.process.kill('SIGTERM')
  expect(await once(one.process, 'exit')).toEqual([0, null])
})

test('it starts without its Redis, and uses it once it is there', async () => {
  const stopped = await startRedis()
  ends.push(() => stopped.stop())
  await stopped.kill()
  const service = await start({ REDIS_URL: stopped.url })
  expect((await service.check('acme')).source).toBe('SOURCE_FALLBACK')
  await stopped.start()
  await vi.waitFor(async () => expect((await service.check('acme')).source).toBe('SOURCE_REDIS'), { timeout: 15_000 })
})
