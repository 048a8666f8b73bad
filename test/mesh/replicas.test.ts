/** Replicas that come and go while clients call them all the time: real processes on several loopback addresses behind one name. */
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { IdempotencyServiceService } from '#gen/relay/idempotency/v1/idempotency.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import { Channel, methodsOf } from '#mesh/grpc/client.ts'
import type { NamesOptions } from '#mesh/grpc/names.ts'
import { type FakeAccess, startFakeAccess } from '../fakes/identity.ts'
import { tcpProxy } from '../fakes/tcp-proxy.ts'
import { type RunningProcess, startProcess } from '../fixtures/mesh/process.ts'
import { mesh, peerToken, requests } from '../fixtures/mesh/server.ts'
import { until } from '../fixtures/mesh/until.ts'

let access: FakeAccess
const started: RunningProcess[] = []
const closing: (() => unknown)[] = []
beforeAll(async () => {
  access = await startFakeAccess(mesh)
})
afterAll(() => access.stop())
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
  for (const { child } of started) child.kill('SIGKILL')
  await Promise.all(started.splice(0).map(({ ended }) => ended))
})

interface Replica {
  readonly grpc: string
  /** How many calls it has answered. */
  handled(): Promise<number>
  /** Drains and ends it. */
  stop(): Promise<void>
}

async function replica(listen: string, env: Record<string, string> = {}): Promise<Replica> {
  const process = startProcess(join(import.meta.dirname, '../fixtures/mesh/main.ts'), {
    ...mesh.env('idempotency'),
    ACCESS_ADDR: access.address,
    LOG_LEVEL: 'warn',
    GRPC_LISTEN: listen,
    ...env,
  })
  started.push(process)
  const { grpc, admin } = await process.listening()
  const handled = async () => {
    const text = await (await fetch(`http://${admin}/metrics`)).text()
    const lines = text.matchAll(/^grpc_server_handled_total\{[^}]*Complete[^}]*\} (\d+)/gm)
    return [...lines].reduce((sum, [, count]) => sum + Number(count), 0)
  }
  const stop = async () => {
    process.child.kill('SIGTERM')
    await process.ended
  }
  return { grpc, handled, stop }
}

interface Calls {
  readonly done: number
  readonly failed: unknown[]
}

/** Calls that are not repeated, three at a time until the test is over. */
function calling(address: string, names?: NamesOptions): Calls {
  const channel = new Channel({ address, service: 'idempotency', peerToken, ...(names !== undefined && { names }) })
  const { complete } = methodsOf(IdempotencyServiceService, channel)
  const calls = { done: 0, failed: [] as unknown[] }
  let over = false
  const workers = Array.from({ length: 3 }, async () => {
    while (!over) {
      await complete(requests.complete, ownContext(), { attempts: 1, timeoutMs: 10_000 }).then(
        () => (calls.done += 1),
        (error: unknown) => calls.failed.push(error),
      )
    }
  })
  closing.push(async () => {
    over = true
    await Promise.all(workers)
    channel.close()
  })
  return calls
}

const more = async (calls: Calls, count: number): Promise<void> => {
  const before = calls.done
  await until(`${count} more calls`, () => calls.done + calls.failed.length >= before + count, 20_000)
}

test('a replica that is added to a name gets calls, a removed one gets none, and no call fails', async () => {
  const first = await replica('127.0.0.1:0')
  const port = first.grpc.split(':')[1]
  let addresses = ['127.0.0.1']
  const calls = calling(`replicas.internal:${port}`, { lookup: async () => addresses, intervalMs: 100 })
  await more(calls, 50)

  const second = await replica(`127.0.0.2:${port}`)
  expect(await second.handled()).toBe(0)
  addresses = ['127.0.0.1', '127.0.0.2']
  await until('the new replica is called', async () => (await second.handled()) > 20, 20_000)

  addresses = ['127.0.0.2']
  let before = -1
  // What is seen within one look-up of the change may still go there.
  await until(
    'the old replica is called no more',
    async () => {
      const handled = await first.handled()
      const still = handled === before
      before = handled
      await more(calls, 50)
      return still
    },
    20_000,
  )
  await more(calls, 100)
  expect(await first.handled()).toBe(before)
  expect(calls.failed).toEqual([])
}, 60_000)

test('the replicas of a name are replaced at other addresses, one right after the other, and no call fails', async () => {
  const one = await replica('127.0.0.1:0')
  const port = one.grpc.split(':')[1]
  const other = await replica(`127.0.0.2:${port}`)
  let addresses = ['127.0.0.1', '127.0.0.2']
  const calls = calling(`replicas.internal:${port}`, { lookup: async () => addresses })
  await until('both are called', async () => (await one.handled()) > 10 && (await other.handled()) > 10, 20_000)

  addresses = ['127.0.0.2']
  await one.stop()
  await replica(`127.0.0.3:${port}`)
  addresses = ['127.0.0.3']
  await other.stop()
  await more(calls, 50)
  expect(calls.failed).toEqual([])
}, 60_000)

test('a name that cannot be resolved for a while keeps its replicas; one that never could reports it, and works as soon as it can', async () => {
  const { grpc } = await replica('127.0.0.1:0')
  const port = grpc.split(':')[1]
  let looked = 0
  let fails = true
  const lookup = async () => {
    looked += 1
    if (fails) throw new Error('no answer')
    return ['127.0.0.1']
  }
  const calls = calling(`replicas.internal:${port}`, { lookup, intervalMs: 50 })
  await until('the first calls fail', () => calls.failed.length > 0, 20_000)
  expect(calls.failed[0]).toMatchObject({ code: 'UNAVAILABLE', reason: 'DEPENDENCY_UNAVAILABLE' })
  fails = false
  await until('calls succeed', () => calls.done > 10, 20_000)

  fails = true
  const [before, failed] = [looked, calls.failed.length]
  await until('it was looked up in vain', () => looked > before + 3, 20_000)
  await more(calls, 50)
  expect(calls.failed).toHaveLength(failed)
}, 60_000)

test('a connection is replaced at its maximum age, and neither a call in progress nor a new one fails', async () => {
  const { grpc } = await replica('127.0.0.1:0', { GRPC_MAX_CONNECTION_AGE: '300ms' })
  const proxy = await tcpProxy({ host: '127.0.0.1', port: Number(grpc.split(':')[1]) })
  closing.push(() => proxy.close())
  const calls = calling(`127.0.0.1:${proxy.port}`)
  const channel = new Channel({ address: `127.0.0.1:${proxy.port}`, service: 'idempotency', peerToken })
  closing.push(() => channel.close())
  const slow = { ...requests.complete, key: { ...requests.complete.key, workspace: 'slow' } }
  // It takes a second: three ages.
  await expect(methodsOf(IdempotencyServiceService, channel).complete(slow, ownContext(), { attempts: 1 })).resolves.toEqual({})
  await until('ten connections', () => proxy.accepted > 10, 30_000)
  expect(calls.failed).toEqual([])
  expect(calls.done).toBeGreaterThan(20)
}, 60_000)
