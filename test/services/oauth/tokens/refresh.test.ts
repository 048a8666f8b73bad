import { describe, expect, test } from 'vitest'
import { meshErrors } from '#mesh/errors.ts'
import { connectionEvent } from '../../../../services/oauth/connections/connections.ts'
import { failureOf } from '../../../fixtures/mesh/server.ts'
import { until } from '../../../fixtures/mesh/until.ts'
import { type CreatedConnection, type Replica, principal, gate, leaseMs, made, tokenOf } from './replica.ts'
import { lastOf, provider, replica, useReplicas } from './replicas.ts'

useReplicas()

const tokenFor = ({ tokens }: Replica, connection: CreatedConnection) => tokens.token(connection, principal)
const removed = ({ store }: Replica, { workspace, actor, connectionId, provider: name }: CreatedConnection) =>
  store.disconnect(workspace, actor, connectionId, connectionEvent(principal, 'connection.removed', { connectionId, provider: name }))
const slowly = () => {
  const [asked, response] = [gate(), gate()]
  provider.answer = async () => {
    asked.open()
    await response.opened
    return provider.grant()
  }
  return { asked: asked.opened, answer: response.open }
}

describe('one refresh', () => {
  test('100 who ask at once for an expired token get the same new one, from one call to the provider', async () => {
    const one = replica()
    const connection = await made(one)
    const tokens = await Promise.all(Array.from({ length: 100 }, () => tokenFor(one, connection)))
    expect(provider.calls).toEqual([connection.refreshToken])
    expect(new Set(tokens.map(({ accessToken }) => accessToken))).toEqual(new Set(provider.given))
  })

  test('and so do 100 at two replicas', async () => {
    const [one, two] = [replica(), replica()]
    const connection = await made(one)
    const { asked, answer: response } = slowly()
    const asking = Array.from({ length: 100 }, (_, index) => tokenFor(index % 2 === 0 ? one : two, connection))
    await asked
    response()
    const tokens = await Promise.all(asking)
    expect(provider.calls).toHaveLength(1)
    expect(new Set(tokens.map(({ accessToken }) => accessToken))).toEqual(new Set(provider.given))
  })

  test('whoever asks while one is under way in the process waits for it, and leaves the database alone', async () => {
    const counts = { found: 0, taken: 0 }
    const one = replica({
      store: (store) => ({
        ...store,
        find: (owner) => store.find(owner).finally(() => (counts.found += 1)),
        takeRefresh: (...args) => store.takeRefresh(...args).finally(() => (counts.taken += 1)),
      }),
    })
    const connection = await made(one)
    const { answer: response } = slowly()
    const asking = Array.from({ length: 100 }, () => tokenFor(one, connection))
    await until('all know that it has expired', () => counts.found === 100)
    response()
    await Promise.all(asking)
    expect(counts).toEqual({ found: 100, taken: 1 })
  })

  test('no database connection is held while the provider is asked', async () => {
    const one = replica()
    const connections = await Promise.all(Array.from({ length: 30 }, () => made(one)))
    const { answer: response } = slowly()
    const asking = connections.map((connection) => tokenFor(one, connection))
    await until('all are at the provider at once', () => provider.calls.length === 30)
    const { totalCount, idleCount, waitingCount } = one.database.pool
    expect({ used: totalCount - idleCount, waitingCount }).toEqual({ used: 0, waitingCount: 0 })
    response()
    await Promise.all(asking)
  })

  test('a holder that is gone is waited for until its lease runs out; then one other asks, once', async () => {
    const [gone, one, two] = [replica(), replica(), replica()]
    const connection = await made(gone)
    await gone.store.takeRefresh(connection.connectionId, connection.epoch, leaseMs)
    const began = performance.now()
    await Promise.all(Array.from({ length: 100 }, (_, index) => tokenFor(index % 2 === 0 ? one : two, connection)))
    expect(provider.calls).toHaveLength(1)
    expect(performance.now() - began).toBeGreaterThan(leaseMs * 0.9)
  })

  test('who comes after its lease was taken over writes nothing', async () => {
    const [slow, quick] = [replica(), replica()]
    const connection = await made(slow)
    const late = slowly()
    const waiting = tokenFor(slow, connection)
    await late.asked
    provider.answer = () => provider.grant()
    const { accessToken } = await tokenFor(quick, connection)
    late.answer()
    expect((await waiting).accessToken).toBe(accessToken)
    expect((await tokenFor(quick, connection)).accessToken).toBe(accessToken)
    expect(provider.calls).toHaveLength(2)
    expect(provider.revoked).toEqual([])
  })
})

describe('a disconnect during a refresh', () => {
  test('leaves it disconnected, and gives back what the provider gave', async () => {
    const one = replica()
    const connection = await made(one)
    const { asked, answer: response } = slowly()
    const waiting = failureOf(tokenFor(one, connection))
    await asked
    expect(await removed(one, connection)).toMatchObject({ connectionId: connection.connectionId })
    response()
    expect(await waiting).toMatchObject({ reason: 'NOT_CONNECTED', metadata: { authorize_path: '/oauth/google/authorize' } })
    expect(await one.store.find(connection)).toBeUndefined()
    expect(provider.revoked).toEqual(provider.given)
  })

  test('also where the provider answers that the grant has ended', async () => {
    const one = replica()
    const connection = await made(one)
    const { asked, answer: response } = slowly()
    const grant = provider.answer
    provider.answer = async (token) => {
      await grant(token)
      provider.fails({ kind: 'refused', code: 'invalid_grant', status: 400 })
      return provider.answer(token)
    }
    const waiting = failureOf(tokenFor(one, connection))
    await asked
    await removed(one, connection)
    response()
    expect(await waiting).toMatchObject({ reason: 'NOT_CONNECTED' })
    expect(await one.store.find(connection)).toBeUndefined()
  })

  test('however they meet: 40 times at any moment, none is connected afterwards', async () => {
    const [one, two] = [replica(), replica()]
    const connections = await Promise.all(Array.from({ length: 40 }, () => made(one)))
    await Promise.all(connections.flatMap((connection) => [tokenFor(one, connection).catch(() => undefined), removed(two, connection)]))
    for (const connection of connections) {
      expect(await one.store.find(connection)).toBeUndefined()
      expect(await failureOf(tokenFor(two, connection))).toMatchObject({ reason: 'NOT_CONNECTED' })
    }
  })
})

describe('a provider that gives a new refresh token each time', () => {
  /** Takes each refresh token once. */
  const rotating = (first: string, expiresInMs = 0) => {
    let good = first
    provider.answer = (token) => {
      if (token !== good) provider.fails({ kind: 'refused', code: 'invalid_grant', status: 400 })
      if (token !== good) return provider.answer(token)
      good = tokenOf('refresh')
      return provider.grant({ refreshToken: good, expiresInMs })
    }
  }

  test('is always shown the latest, by whichever replica', async () => {
    const replicas = [replica(), replica()]
    const connection = await made(replicas[0]!)
    rotating(connection.refreshToken)
    for (let round = 0; round < 6; round += 1) await tokenFor(replicas[round % 2]!, connection)
    expect(new Set(provider.calls).size).toBe(6)
    expect(await replicas[0]!.store.find(connection)).toMatchObject({ status: 'connected' })
  })

  test('loses nothing to a database that is away when the answer comes, or that loses its own answer', async () => {
    let failures = 3
    const one = replica({
      store: (store) => ({
        ...store,
        async writeRefreshed(...args) {
          failures -= 1
          // The last one is written, and only its answer is lost.
          if (failures === 0) await store.writeRefreshed(...args)
          if (failures >= 0) throw meshErrors.DEPENDENCY_UNAVAILABLE()
          return store.writeRefreshed(...args)
        },
      }),
    })
    const connection = await made(one)
    rotating(connection.refreshToken)
    const { accessToken } = await tokenFor(one, connection)
    expect(accessToken).toBe(provider.given[0])
    await tokenFor(one, connection)
    expect(await one.store.find(connection)).toMatchObject({ status: 'connected' })
  })

  test('loses nothing to a provider that answers after everybody has stopped waiting', async () => {
    const one = replica({ waitMs: 500, lease: 30_000 })
    const connection = await made(one)
    rotating(connection.refreshToken, 60_000)
    const [rotate, response] = [provider.answer, gate()]
    provider.answer = async (token) => {
      // It has taken the old token by the time that it is slow.
      const granted = await rotate(token)
      await response.opened
      return granted
    }
    expect(await failureOf(tokenFor(one, connection))).toMatchObject({ reason: 'PROVIDER_UNAVAILABLE' })
    response.open()
    const { accessToken } = await tokenFor(one, connection)
    expect(accessToken).toBe(provider.given[0])
    expect(provider.calls).toEqual([connection.refreshToken])
    const kept = (await one.store.find(connection))!
    await one.store.expireAccess(kept.connectionId, kept.tokens.access)
    await tokenFor(one, connection)
    expect(provider.calls).toEqual([connection.refreshToken, provider.given[1]])
    expect(await one.store.find(connection)).toMatchObject({ status: 'connected' })
  })

  test('and whose answer died with the process: its owner is told to connect anew', async () => {
    const one = replica()
    const connection = await made(one)
    rotating(connection.refreshToken)
    await provider.refresh(undefined as never, connection.refreshToken)
    expect(await failureOf(tokenFor(one, connection))).toMatchObject({ reason: 'REAUTH_REQUIRED', metadata: { reason: 'GRANT_ENDED' } })
  })
})

describe('a refresh that fails', () => {
  test('because the grant has ended: the owner has to connect anew, and the audit log hears why, once', async () => {
    const [one, two] = [replica(), replica()]
    const connection = await made(one)
    provider.fails({ kind: 'refused', code: 'invalid_grant', status: 400 })
    const failures = await Promise.all([one, two, one, two].map((each) => failureOf(tokenFor(each, connection))))
    for (const failure of failures) {
      const metadata = { authorize_path: '/oauth/google/authorize', reason: 'GRANT_ENDED' }
      expect(failure).toMatchObject({ reason: 'REAUTH_REQUIRED', metadata })
    }
    expect(provider.calls).toHaveLength(1)
    const told = await one.database.pool.query<{ event: string }>(`SELECT event FROM audit_outbox WHERE event LIKE $1`, [
      `%reauth_required%${connection.connectionId}%`,
    ])
    expect(told.rows.map(({ event }) => JSON.parse(event) as object)).toEqual([
      expect.objectContaining({ action: 'connection.reauth_required', reason: 'GRANT_ENDED', requestId: principal.requestId }),
    ])
  })

  test('for want of a refresh token: the same, and the provider is not asked', async () => {
    const one = replica()
    const connection = await made(one)
    await one.database.pool.query('UPDATE connections SET refresh_sealed = NULL WHERE connection_id = $1', [connection.connectionId])
    const metadata = { reason: 'NO_REFRESH_TOKEN' }
    expect(await failureOf(tokenFor(one, connection))).toMatchObject({ reason: 'REAUTH_REQUIRED', metadata })
    expect(provider.calls).toEqual([])
  })

  test('because the provider does not know us: an alarm until it does, and every connection stays as it is', async () => {
    const one = replica()
    const connection = await made(one)
    provider.fails({ kind: 'refused', code: 'invalid_client', status: 401 })
    expect(await failureOf(tokenFor(one, connection))).toMatchObject({ reason: 'CLIENT_REFUSED', code: 'UNAVAILABLE' })
    const gauge = async () => /oauth_client_rejected\{[^}]*\} (\d)/.exec(await one.metrics.registry.metrics())?.[1]
    expect(await gauge()).toBe('1')
    expect(one.lines.filter((line) => line.includes('"level":"error"') && line.includes('invalid_client'))).toHaveLength(1)
    expect(await one.store.find(connection)).toMatchObject({ status: 'connected', tokens: { refresh: expect.any(String) as string } })
    provider.answer = () => provider.grant()
    await one.database.pool.query('UPDATE connections SET rest_until = NULL')
    await tokenFor(one, connection)
    expect(await gauge()).toBe('0')
  })

  test.each([
    ['that it is too much', { kind: 'busy', status: 429, retryAfterMs: 30_000 }, 30_000],
    ['that it is broken', { kind: 'busy', status: 503, retryAfterMs: undefined }, 500],
    ['nothing', { kind: 'unreachable' }, 500],
    ['nonsense', { kind: 'unreadable' }, 500],
  ] as const)('because the provider says %s: it is left alone for a while, by every replica', async (_, failure, minMs) => {
    const [one, two] = [replica(), replica()]
    const connection = await made(one)
    provider.fails(failure)
    const first = await failureOf(tokenFor(one, connection))
    expect(first).toMatchObject({ reason: 'PROVIDER_UNAVAILABLE', code: 'UNAVAILABLE' })
    expect(first.retryAfterMs).toBeGreaterThanOrEqual(minMs)
    for (const each of [one, two]) expect(await failureOf(tokenFor(each, connection))).toMatchObject({ reason: 'PROVIDER_UNAVAILABLE' })
    expect(provider.calls).toHaveLength(1)
    expect(await one.store.find(connection)).toMatchObject({ status: 'connected', failures: 1 })
  })

  test('while the token there is still holds: that one is handed out', async () => {
    const one = replica()
    const connection = await made(one, { leftMs: 60_000 })
    await lastOf(one, '2 s')
    provider.fails({ kind: 'busy', status: 503, retryAfterMs: undefined })
    expect((await tokenFor(one, connection)).accessToken).toBe(connection.accessToken)
    expect((await tokenFor(one, connection)).accessToken).toBe(connection.accessToken)
    expect(provider.calls).toHaveLength(1)
  })
})

test('neither the database, nor a log line, nor a metric, nor an error has a token in it', async () => {
  const one = replica()
  const secrets: string[] = []
  const errors: unknown[] = []
  for (const failure of [
    undefined,
    { kind: 'refused', code: 'invalid_grant', status: 400 },
    { kind: 'refused', code: 'invalid_client', status: 401 },
    { kind: 'busy', status: 500, retryAfterMs: undefined },
    { kind: 'unreachable' },
  ] as const) {
    const connection = await made(one)
    secrets.push(connection.accessToken, connection.refreshToken)
    provider.answer = () => provider.grant({ refreshToken: tokenOf('refresh') })
    if (failure !== undefined) provider.fails(failure)
    await tokenFor(one, connection).catch((error: unknown) => errors.push(error))
  }
  const dump = async (table: string) => JSON.stringify((await one.database.pool.query(`SELECT * FROM ${table}`)).rows)
  const said = errors.map((error) => JSON.stringify(error) + String(error) + (error as Error).stack)
  const tables = [await dump('connections'), await dump('audit_outbox')]
  const written = [...one.lines, ...tables, await one.metrics.registry.metrics(), ...said].join('\n')
  expect(errors).toHaveLength(4)
  for (const secret of [...secrets, ...provider.given]) expect(written.includes(secret)).toBe(false)
  expect(written).toContain('GRANT_ENDED')
})
