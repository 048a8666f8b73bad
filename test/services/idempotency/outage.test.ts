import { randomUUID } from 'node:crypto'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Secret } from '#mesh/config.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import { migrate } from '#mesh/postgres/migrate.ts'
import { type Postgres, startPostgres } from '../../../deploy/local/postgres/server.ts'
import { type TcpProxy, tcpProxy, through } from '../../fakes/tcp-proxy.ts'
import { until } from '../../fixtures/mesh/until.ts'
import { claimRequest, keyOf, migrations, outcomeOf, startOnPostgres } from './replica.ts'

describe('when Postgres is away', () => {
  let folder: string
  let postgres: Postgres
  let proxy: TcpProxy
  let direct: Awaited<ReturnType<typeof startOnPostgres>>
  let proxied: typeof direct
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'relay-outage-'))
    chmodSync(folder, 0o755)
    postgres = await startPostgres({ folder, durable: true })
    const url = postgres.url('postgres')
    await migrate(new Secret(url), migrations, pino({ level: 'silent' }))
    proxy = await tcpProxy({ host: '127.0.0.1', port: postgres.port })
    direct = await startOnPostgres(url)
    proxied = await startOnPostgres(through(proxy, url))
  })
  afterAll(async () => {
    await Promise.all([direct.close(), proxied.close()])
    await proxy.close()
    await postgres.stop()
    rmSync(postgres.data, { recursive: true, force: true })
    rmSync(folder, { recursive: true, force: true })
  })

  const responses = ({ client }: typeof direct): Promise<boolean> =>
    client.claim(claimRequest(keyOf(), { fingerprint: undefined }), ownContext()).then(
      () => true,
      () => false,
    )
  const refusedWithin = async (limitMs: number, calls: readonly Promise<unknown>[], codes: readonly string[]): Promise<void> => {
    const began = performance.now()
    const settled = await Promise.allSettled(calls)
    expect(performance.now() - began).toBeLessThan(limitMs)
    for (const each of settled) {
      expect(each.status).toBe('rejected')
      expect(codes).toContain(each.status === 'rejected' && each.reason.code)
    }
  }

  test('killed: calls are refused within 3 s; once it is started again, the service is back with all it knew', async () => {
    const [held, ended] = [claimRequest(), claimRequest()]
    const grant = outcomeOf(await direct.client.claim(held, ownContext()), 'granted')
    await direct.client.claim(ended, ownContext())
    await direct.client.complete({ key: ended.key, runId: ended.runId, token: undefined, response: undefined }, ownContext())
    await postgres.kill()

    const lost = claimRequest()
    const { client } = direct
    await refusedWithin(
      3000,
      [
        ...Array.from({ length: 20 }, () => client.claim(claimRequest(), ownContext())),
        client.claim(lost, ownContext()),
        client.claim(claimRequest(held.key), ownContext()),
        client.renew({ key: held.key, token: grant.token, leaseMs: 0 }, ownContext()),
        client.complete({ key: held.key, runId: held.runId, token: undefined, response: undefined }, ownContext()),
        client.release({ key: held.key, token: grant.token }, ownContext()),
      ],
      ['UNAVAILABLE'],
    )

    await postgres.start()
    await until('it answers again', () => responses(direct), 10_000)
    expect(outcomeOf(await client.claim(held, ownContext()), 'granted')).toMatchObject({ token: grant.token, runId: held.runId })
    expect(outcomeOf(await client.claim(claimRequest(ended.key), ownContext()), 'completed').runId).toBe(ended.runId)
    expect(outcomeOf(await client.claim(lost, ownContext()), 'granted').runId).toBe(lost.runId)
  })

  test('silent: calls are refused within 3 s; once it speaks again, the service is back', async () => {
    const { client } = proxied
    await until('it answers', () => responses(proxied))
    proxy.silence()
    const calls = Array.from({ length: 50 }, () => client.claim(claimRequest(), ownContext()))
    await refusedWithin(3000, calls, ['UNAVAILABLE', 'DEADLINE_EXCEEDED'])
    proxy.restore()
    await until('it answers again', () => responses(proxied), 10_000)
    const request = claimRequest()
    expect(outcomeOf(await client.claim(request, ownContext()), 'granted').runId).toBe(request.runId)
  })

  test('gone between the write and its answer: the repeated claim has the grant that was made', async () => {
    await until('it answers', () => responses(proxied))
    for (let round = 0; round < 10; round += 1) {
      const request = claimRequest(keyOf(randomUUID()))
      const asked = proxied.client.claim(request, ownContext())
      setTimeout(() => proxy.cut(), round / 2)
      // Cut short or not: the client repeats it by itself, as the same attempt.
      const grant = outcomeOf(await asked, 'granted')
      expect(grant).toMatchObject({ runId: request.runId, takenOver: false })
      await proxied.client.renew({ key: request.key, token: grant.token, leaseMs: 0 }, ownContext())
    }
  })
})
