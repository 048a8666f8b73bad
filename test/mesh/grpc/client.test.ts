import { createServer } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { ExecuteActionResponse } from '#gen/relay/actions/v1/actions.ts'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { CompleteRequest, IdempotencyServiceService } from '#gen/relay/idempotency/v1/idempotency.ts'
import { MeshError, meshErrors } from '#mesh/errors.ts'
import { type Call, ownContext } from '#mesh/grpc/call.ts'
import { Channel } from '#mesh/grpc/client.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import {
  type TestClient,
  type TestServer,
  asCaller,
  connect,
  failureOf,
  peerToken,
  requests,
  startServer,
} from '../../fixtures/mesh/server.ts'
import { until } from '../../fixtures/mesh/until.ts'

const started: { stop(): Promise<void> }[] = []
afterEach(async () => {
  vi.restoreAllMocks()
  await Promise.all(started.splice(0).map((each) => each.stop()))
})
const connected = (...args: Parameters<typeof connect>): TestClient => {
  const client = connect(...args)
  started.push({ stop: async () => client.channel.close() })
  return client
}

/** A server whose methods all do the same, and count how often they are asked. */
async function counting(handle: (call: Call, count: number) => Promise<void> | void, port = 0): Promise<TestServer & { calls: number }> {
  const count = async (call: Call) => {
    counted.calls += 1
    await handle(call, counted.calls)
  }
  const server = await startServer({
    port,
    idempotency: {
      complete: async (_, call) => {
        await count(call)
        return {}
      },
    },
    actions: {
      listActions: async (_, call) => {
        await count(call)
        return { actions: [], requestId: '' }
      },
      executeAction: async (_, call) => {
        await count(call)
        return ExecuteActionResponse.fromPartial({})
      },
    },
    ratelimit: {
      check: async (_, call) => {
        await count(call)
        return { granted: 1, decisions: [] }
      },
    },
  })
  const counted = Object.assign(server, { calls: 0 })
  started.push(server)
  return counted
}
const unavailable = () => {
  throw meshErrors.DEPENDENCY_UNAVAILABLE()
}

describe('a call that is safe to repeat', () => {
  test('is repeated if the service is unavailable, at most three times in all', async () => {
    const server = await counting(unavailable)
    const { idempotency, actions } = connected(server.address)
    await expect(idempotency.complete(requests.complete, ownContext())).rejects.toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
    expect(server.calls).toBe(3)
    await expect(actions.listActions({}, asCaller())).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(server.calls).toBe(6)
    await expect(idempotency.complete(requests.complete, ownContext(), { attempts: 1 })).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(server.calls).toBe(7)
  })

  test('succeeds as soon as a repetition does, under the same request id', async () => {
    const ids: string[] = []
    const server = await counting((call, count) => {
      ids.push(call.requestId)
      if (count < 3) unavailable()
    })
    const context = ownContext()
    await connected(server.address).idempotency.complete(requests.complete, context)
    expect(ids).toEqual([context.requestId, context.requestId, context.requestId])
  })

  test.each(['INTERNAL', 'OVERLOADED', 'DEADLINE_EXCEEDED', 'INVALID_REQUEST', 'PERMISSION_DENIED'] as const)(
    'is not repeated after %s',
    async (reason) => {
      const server = await counting(() => {
        throw meshErrors[reason]()
      })
      await expect(connected(server.address).idempotency.complete(requests.complete, ownContext())).rejects.toMatchObject({ reason })
      expect(server.calls).toBe(1)
    },
  )

  test('is never repeated past its deadline, nor past its caller’s', async () => {
    const server = await counting(unavailable)
    const { idempotency } = connected(server.address)
    for (const [context, options] of [
      [ownContext(), { timeoutMs: 300, attempts: 1000 }],
      [{ ...ownContext(), deadline: Date.now() + 600 }, { attempts: 1000 }],
    ] as const) {
      const began = Date.now()
      await expect(idempotency.complete(requests.complete, context, options)).rejects.toBeInstanceOf(MeshError)
      expect(Date.now() - began).toBeLessThan(900)
    }
    expect(server.calls).toBeLessThan(50)
  })

  test('fails with its own error as soon as there is no time left to repeat it', async () => {
    const server = await counting(unavailable)
    vi.spyOn(Math, 'random').mockReturnValue(0.999)
    const call = connected(server.address).idempotency.complete(requests.complete, ownContext(), { timeoutMs: 300, attempts: 1000 })
    await expect(call).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(server.calls).toBeLessThanOrEqual(3)
  })

  test('waits longer before each repetition, at random', async () => {
    const server = await counting(unavailable)
    const { idempotency } = connected(server.address)
    await expect(idempotency.complete(requests.complete, ownContext(), { attempts: 1 })).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    const took = async (random: number) => {
      vi.spyOn(Math, 'random').mockReturnValue(random)
      const began = performance.now()
      await expect(idempotency.complete(requests.complete, ownContext())).rejects.toMatchObject({ code: 'UNAVAILABLE' })
      return performance.now() - began
    }
    const [shortest, longest] = [await took(0), await took(0.999)]
    expect(longest).toBeGreaterThan(145)
    expect(shortest).toBeLessThan(longest)
  })

  test('is not repeated once no caller waits', async () => {
    const leaving = new AbortController()
    const server = await counting(() => {
      setImmediate(() => leaving.abort())
      unavailable()
    })
    vi.spyOn(Math, 'random').mockReturnValue(0.999)
    const call = connected(server.address).idempotency.complete(requests.complete, { ...ownContext(), signal: leaving.signal })
    await expect(call).rejects.toMatchObject({ code: 'CANCELLED' })
    expect(server.calls).toBe(1)
  })
})

describe('a call that is not safe to repeat', () => {
  test('is made once, whatever the result', async () => {
    const server = await counting(unavailable)
    const { ratelimit, actions } = connected(server.address)
    // The connection stands before what may take 150 ms is called.
    await expect(actions.executeAction(requests.execute, asCaller(), { attempts: 5 })).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await expect(ratelimit.check(requests.check, ownContext(), { attempts: 5 })).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(server.calls).toBe(2)
  })

  test('is repeated if the server says that no handler saw it', async () => {
    const server = await counting(() => undefined)
    const other = await counting(() => undefined)
    const { actions } = connected(`${server.address}+${other.address}`)
    // Both are connected when one of them begins to drain.
    for (let call = 0; call < 4; call += 1) await actions.executeAction(requests.execute, asCaller())
    const [before, otherBefore] = [server.calls, other.calls]
    expect(before * otherBefore).toBeGreaterThan(0)
    const calls = Array.from({ length: 200 }, () => actions.executeAction(requests.execute, asCaller()))
    const drained = server.grpc.drain(5000)
    await Promise.all([...calls, ...Array.from({ length: 200 }, () => actions.executeAction(requests.execute, asCaller()))])
    expect(await drained).toBe(true)
    expect(server.calls + other.calls - before - otherBefore).toBe(400)
  })

  test('is made once if the connection breaks', async () => {
    const server = await counting(() => new Promise(() => undefined))
    const call = connected(server.address).actions.executeAction(requests.execute, asCaller())
    const broken = failureOf(call)
    await until('the server has the call', () => server.calls === 1)
    await server.stop()
    const again = await counting(() => undefined, server.port)
    expect(await broken).toMatchObject({ code: 'UNAVAILABLE' })
    const other = connected(server.address)
    await until('the service is found again', () =>
      other.ratelimit.check(requests.check, ownContext()).then(
        () => true,
        () => false,
      ),
    )
    expect(again.calls).toBe(1)
  })
})

test.each([0, 2])(
  'a call whose stream ends without a status, with code %i, is UNAVAILABLE: a connection ended, and says nothing of why',
  async (code) => {
    const server = createServer()
    server.on('stream', (stream) => {
      stream.on('error', () => undefined)
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' })
      setImmediate(() => stream.close(code))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    started.push({ stop: async () => void server.close() })
    const client = connected(`127.0.0.1:${(server.address() as AddressInfo).port}`)
    expect(await failureOf(client.actions.executeAction(requests.execute, asCaller()))).toMatchObject({
      code: 'UNAVAILABLE',
      reason: 'DEPENDENCY_UNAVAILABLE',
    })
  },
)

describe('a service that disappears', () => {
  test('is found again about a second after it returns, by the same client', async () => {
    const server = await counting(() => undefined)
    const { ratelimit } = connected(server.address)
    await ratelimit.check(requests.check, ownContext())
    await server.stop()
    const gone = Date.now()
    await until('it has been away for long enough to be given up', async () => {
      await expect(ratelimit.check(requests.check, ownContext())).rejects.toMatchObject({
        code: expect.stringMatching('UNAVAILABLE|DEADLINE_EXCEEDED'),
      })
      return Date.now() - gone > 1500
    })
    const back = await counting(() => undefined, server.port)
    const since = Date.now()
    await until('a call succeeds', () =>
      ratelimit.check(requests.check, ownContext()).then(
        () => true,
        () => false,
      ),
    )
    expect(Date.now() - since).toBeLessThan(1500)
    expect(back.calls).toBeGreaterThan(0)
  })

  test('is UNAVAILABLE at once if nothing listens', async () => {
    const server = await counting(() => undefined)
    await server.stop()
    const began = Date.now()
    await expect(connected(server.address).idempotency.complete(requests.complete, ownContext())).rejects.toMatchObject({
      reason: 'DEPENDENCY_UNAVAILABLE',
      domain: 'mesh',
    })
    expect(Date.now() - began).toBeLessThan(1500)
  })
})

describe('two replicas', () => {
  test('share the calls, and calls that are safe to repeat do not notice when one is killed', async () => {
    const [one, other] = [await counting(() => undefined), await counting(() => undefined)]
    const { idempotency } = connected(`${one.address}+${other.address}`)
    const call = () => idempotency.complete(requests.complete, ownContext())
    await until('both have answered', async () => {
      await call()
      return one.calls > 0 && other.calls > 0
    })
    const [before, otherBefore] = [one.calls, other.calls]
    for (let index = 0; index < 20; index += 1) await call()
    expect([one.calls - before, other.calls - otherBefore]).toEqual([10, 10])

    const during = Array.from({ length: 50 }, call)
    await one.stop()
    await Promise.all(during)
    for (let index = 0; index < 20; index += 1) await call()
    expect(other.calls - otherBefore).toBeGreaterThanOrEqual(30)
  })

  test('are both lost, and one is replaced at once: calls wait for it, even those that are not safe to repeat', async () => {
    const [one, other] = [await counting(() => undefined), await counting(() => undefined)]
    const { actions } = connected(`${one.address}+${other.address}`)
    const execute = () => actions.executeAction(requests.execute, asCaller())
    await until('both have answered', async () => {
      await execute()
      return one.calls > 0 && other.calls > 0
    })
    await Promise.all([one.grpc.drain(5000), other.grpc.drain(5000)])
    const calls = Promise.all(Array.from({ length: 20 }, execute))
    const replacement = await counting(() => undefined, one.port)
    await calls
    expect(replacement.calls).toBe(20)
  })

  test('are given as addresses, or as one name that has several', () => {
    expect(() => new Channel({ address: 'one:1+other:2' })).toThrow('a name stands alone')
    expect(() => new Channel({ address: '127.0.0.1:1+[::1]:2' })).toThrow('IP addresses of one family')
    for (const address of ['[::1]:1+[::1]:2', '[::1]:1', 'localhost:1', '127.0.0.1:1+127.0.0.1:2']) new Channel({ address }).close()
  })

  test('may be a name', async () => {
    const server = await counting(() => undefined)
    await connected(`localhost:${server.port}`).idempotency.complete(requests.complete, ownContext())
    expect(server.calls).toBe(1)
  })
})

test('what a handler says beside its response arrives', async () => {
  const server = await counting((call) => call.reply('idempotency-replayed', 'true'))
  const { channel } = connected(server.address)
  const { path } = IdempotencyServiceService.complete
  const bytes = CompleteRequest.encode(CompleteRequest.fromPartial(requests.complete)).finish()
  const { response, replies } = await channel.call(path, bytes, ownContext())
  expect(response).toHaveLength(0)
  expect(replies.get('idempotency-replayed')).toEqual(['true'])
})

test('a call whose caller has left, or whose time is over, is not made', async () => {
  const server = await counting(() => undefined)
  const { idempotency } = connected(server.address)
  await expect(idempotency.complete(requests.complete, { ...ownContext(), signal: AbortSignal.abort() })).rejects.toMatchObject({
    code: 'CANCELLED',
  })
  await expect(idempotency.complete(requests.complete, { ...ownContext(), deadline: Date.now() - 1 })).rejects.toMatchObject({
    code: 'DEADLINE_EXCEEDED',
  })
  expect(server.calls).toBe(0)
})

test('a request above the size limit is rejected before it is sent', async () => {
  const server = await counting(() => undefined)
  const call = connected(server.address).idempotency.complete({ ...requests.complete, response: Buffer.alloc(1024 * 1024) }, ownContext())
  await expect(call).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' })
  expect(server.calls).toBe(0)
})

test('calls that could not begin are errors of the family, and later ones carry no stack trace', async () => {
  const server = await counting(() => undefined)
  const client = connected(server.address)
  const depth = Error.stackTraceLimit
  await expect(client.idempotency.complete(requests.complete, { ...ownContext(), requestId: 'no\nheader' })).rejects.toMatchObject({
    reason: 'INTERNAL',
  })
  client.channel.close()
  await expect(client.idempotency.complete(requests.complete, ownContext())).rejects.toMatchObject({ reason: 'SHUTTING_DOWN' })
  await expect(client.ratelimit.check(requests.check, ownContext())).rejects.toBeInstanceOf(MeshError)
  expect(Error.stackTraceLimit).toBe(depth)
  expect(depth).toBeGreaterThan(0)
})

test('calls are counted once, however often they were repeated, by their result', async () => {
  const server = await counting((_, count) => {
    if (count === 1) unavailable()
  })
  const metrics = new Metrics('tested')
  const [one, other] = [connected(server.address, peerToken, metrics), connected(server.address, peerToken, metrics)]
  await one.idempotency.complete(requests.complete, ownContext())
  await other.idempotency.complete(requests.complete, ownContext())
  const counted = await metrics.registry.getSingleMetricAsString('grpc_client_handled_total')
  // Every method and code is there from the start, at 0.
  expect(counted.split('\n').filter((line) => !line.startsWith('#') && !line.endsWith(' 0'))).toEqual([
    expect.stringMatching(/Complete",grpc_code="OK".* 2$/),
  ])
})
