import { ChannelCredentials, type ClientReadableStream, type ServiceError } from '@grpc/grpc-js'
import { afterEach, describe, expect, test } from 'vitest'
import { HealthClient, type HealthCheckResponse } from '#gen/grpc/health/v1/health.ts'
import { Health } from '#mesh/grpc/health.ts'
import { type TestServer, startServer } from '../../fixtures/mesh/server.ts'
import { until } from '../../fixtures/mesh/until.ts'

const actions = 'relay.actions.v1.ActionsService'
const started: { stop(): Promise<void> }[] = []
afterEach(async () => {
  await Promise.all(started.splice(0).map((each) => each.stop()))
})

async function serving(
  health: Health,
): Promise<{ server: TestServer; client: HealthClient; check: (service?: string) => Promise<string> }> {
  const server = await startServer({ health })
  const client = new HealthClient(server.address, ChannelCredentials.createInsecure())
  started.push(server, { stop: async () => client.close() })
  const check = (service = '') =>
    new Promise<string>((resolve, reject) =>
      client.check({ service }, (error: ServiceError | null, response) => (error === null ? resolve(response.status) : reject(error))),
    )
  return { server, client, check }
}

function watched(stream: ClientReadableStream<HealthCheckResponse>): { statuses: string[]; ended: () => boolean } {
  const statuses: string[] = []
  let over = false
  stream.on('data', ({ status }: HealthCheckResponse) => statuses.push(status))
  stream.on('end', () => (over = true))
  stream.on('error', () => (over = true))
  return { statuses, ended: () => over }
}

describe('a process', () => {
  test('serves if all of its dependencies respond, as a whole and by service', async () => {
    const { check } = await serving(new Health({ services: [actions], checks: { postgres: async () => undefined } }))
    expect(await Promise.all(['', actions, 'postgres'].map(check))).toEqual(['SERVING', 'SERVING', 'SERVING'])
  })

  test.each([
    ['rejects', async () => Promise.reject(new Error('no'))],
    [
      'throws',
      () => {
        throw new Error('no')
      },
    ],
    ['hangs', () => new Promise<void>(() => undefined)],
  ])('does not serve when a check %s', async (_, postgres) => {
    const { check } = await serving(new Health({ services: [actions], checks: { postgres, redis: async () => undefined }, timeoutMs: 100 }))
    const began = Date.now()
    expect(await Promise.all(['', actions, 'postgres', 'redis'].map(check))).toEqual([
      'NOT_SERVING',
      'NOT_SERVING',
      'NOT_SERVING',
      'SERVING',
    ])
    expect(Date.now() - began).toBeLessThan(1000)
  })

  test('serves without optional dependencies, and reports that they are missing', async () => {
    const health = new Health({ services: [actions], checks: { redis: () => Promise.reject(new Error('no')) }, optional: ['redis'] })
    const { check } = await serving(health)
    expect(await Promise.all(['', 'redis'].map(check))).toEqual(['SERVING', 'NOT_SERVING'])
    expect(await health.dependencies()).toEqual({ redis: false })
  })

  test('serves again once its dependencies are back', async () => {
    let up = false
    const { check } = await serving(
      new Health({ services: [], checks: { postgres: async () => (up ? undefined : Promise.reject(new Error('no'))) } }),
    )
    expect(await check()).toBe('NOT_SERVING')
    up = true
    await until('it serves', async () => (await check()) === 'SERVING')
  })

  test('checks its dependencies at most twice per second, however many ask', async () => {
    let asked = 0
    const { check } = await serving(
      new Health({
        services: [],
        checks: {
          postgres: async () => {
            asked += 1
          },
        },
      }),
    )
    await Promise.all(Array.from({ length: 50 }, () => check()))
    expect(asked).toBeLessThanOrEqual(2)
  })

  test('aborts a check at its timeout', async () => {
    let told: AbortSignal | undefined
    const hanging = (signal: AbortSignal) => {
      told = signal
      return new Promise<void>(() => undefined)
    }
    expect(await new Health({ services: [], checks: { hanging }, timeoutMs: 50 }).ready()).toBe(false)
    expect(told?.aborted).toBe(true)
  })

  test('does not know the health of unknown names, nor of inherited properties', async () => {
    const { check } = await serving(new Health({ services: [actions] }))
    for (const name of ['relay.other.v1.OtherService', 'constructor', '__proto__'])
      await expect(check(name)).rejects.toMatchObject({ code: 5 })
  })
})

describe('a watcher', () => {
  test('sees every change, and only changes', async () => {
    let up = true
    const { client } = await serving(
      new Health({ services: [], checks: { postgres: async () => (up ? undefined : Promise.reject(new Error('no'))) } }),
    )
    const stream = client.watch({ service: '' })
    const { statuses } = watched(stream)
    await until('it serves', () => statuses.length === 1)
    up = false
    await until('it does not', () => statuses.length === 2)
    up = true
    await until('it serves again', () => statuses.length === 3)
    expect(statuses).toEqual(['SERVING', 'NOT_SERVING', 'SERVING'])
    stream.cancel()
  })

  test('of an unknown name learns that and waits', async () => {
    const { client } = await serving(new Health({ services: [] }))
    const stream = client.watch({ service: 'relay.other.v1.OtherService' })
    const { statuses, ended } = watched(stream)
    await until('it is told', () => statuses.length === 1)
    expect(statuses).toEqual(['SERVICE_UNKNOWN'])
    expect(ended()).toBe(false)
    stream.cancel()
  })

  test('learns of a drain and is released, so that it delays nothing', async () => {
    const { server, client } = await serving(new Health({ services: [actions] }))
    const { statuses, ended } = watched(client.watch({ service: actions }))
    await until('it serves', () => statuses.length === 1)
    const began = Date.now()
    expect(await server.grpc.drain(10_000)).toBe(true)
    expect(Date.now() - began).toBeLessThan(5000)
    await until('the stream is over', ended)
    expect(statuses).toEqual(['SERVING', 'NOT_SERVING'])
  })
})
