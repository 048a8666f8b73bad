import { describe, expect, test } from 'vitest'
import { meshErrors } from '#mesh/errors.ts'
import type { CachedToken } from '../../../../services/oauth/connections/token-cache.ts'
import { failureOf } from '../../../fixtures/mesh/server.ts'
import { type CreatedConnection, type Replica, principal, made, sha256 } from './replica.ts'
import { lastOf, provider, replica, useReplicas } from './replicas.ts'

useReplicas()

const tokenFor = ({ tokens }: Replica, connection: CreatedConnection, refused?: string) =>
  tokens.token({ ...connection, refused }, principal)

describe('a token', () => {
  test('that holds for long is handed out as it is; in its last minute too, while another is fetched', async () => {
    const one = replica()
    const connection = await made(one, { leftMs: 3_600_000 })
    expect((await tokenFor(one, connection)).accessToken).toBe(connection.accessToken)
    expect(provider.calls).toEqual([])
    await lastOf(one, '50 s')
    expect((await tokenFor(one, connection)).accessToken).toBe(connection.accessToken)
    await one.refresh.drain()
    expect(provider.calls).toHaveLength(1)
    expect((await tokenFor(one, connection)).accessToken).toBe(provider.given[0])
  })

  test('that was refused is not handed out again, by no replica', async () => {
    const [one, two] = [replica(), replica()]
    const connection = await made(one, { leftMs: 3_600_000 })
    const next = await tokenFor(one, connection, sha256(connection.accessToken))
    expect(next.accessToken).toBe(provider.given[0])
    expect((await tokenFor(two, connection)).accessToken).toBe(next.accessToken)
    provider.fails({ kind: 'unreachable' })
    expect(await failureOf(tokenFor(one, connection, sha256(next.accessToken)))).toMatchObject({ reason: 'PROVIDER_UNAVAILABLE' })
    for (const each of [one, two]) expect(await failureOf(tokenFor(each, connection))).toMatchObject({ reason: 'PROVIDER_UNAVAILABLE' })
  })

  test('that was refused before the one there is now changes nothing', async () => {
    const one = replica()
    const connection = await made(one, { leftMs: 3_600_000 })
    expect((await tokenFor(one, connection, sha256('an earlier one'))).accessToken).toBe(connection.accessToken)
    expect(provider.calls).toEqual([])
  })

  test('of another connection than was meant is refused, and one that was put into its row opens nowhere', async () => {
    const one = replica()
    const [mine, other] = [await made(one, { leftMs: 3_600_000 }), await made(one, { leftMs: 3_600_000 })]
    expect(await failureOf(tokenFor(one, { ...mine, connectionId: other.connectionId }))).toMatchObject({ reason: 'CONNECTION_CHANGED' })
    await one.database.pool.query(
      `UPDATE connections SET access_sealed = (SELECT access_sealed FROM connections WHERE connection_id = $1) WHERE connection_id = $2`,
      [other.connectionId, mine.connectionId],
    )
    await expect(tokenFor(one, mine)).rejects.toThrow('belongs to another place')
    expect(await one.metrics.registry.metrics()).toContain('oauth_decrypt_failures_total{reason="context_mismatch"')
  })
})

test('while the database is away, a cached token serves until it expires, if it is of that connection and was sealed for it', async () => {
  let cached: CachedToken | undefined
  let away = false
  const forgotten: number[] = []
  const one = replica({
    cache: { find: async () => cached, put: () => undefined, forget: ({ epoch }) => forgotten.push(epoch) },
    store: (store) => ({
      ...store,
      async find(owner) {
        if (away) throw meshErrors.DEPENDENCY_UNAVAILABLE()
        return store.find(owner)
      },
    }),
  })
  const [mine, other] = [await made(one, { leftMs: 3_600_000 }), await made(one, { leftMs: 3_600_000 })]
  const [held, foreign] = [(await one.store.find(mine))!, (await one.store.find(other))!]
  const { connectionId, epoch, scopes, tokens } = held
  const good = { connectionId, epoch, scopes, access: tokens.access, accessExpiresAt: tokens.accessExpiresAt }
  away = true
  cached = good
  expect(await tokenFor(one, mine)).toEqual({ accessToken: mine.accessToken, expiresAt: tokens.accessExpiresAt, scopes: ['mail'] })
  for (const bad of [
    undefined,
    { ...good, accessExpiresAt: new Date() },
    { ...good, connectionId: other.connectionId },
    { ...good, access: foreign.tokens.access },
    { ...good, access: 'nonsense' },
  ]) {
    cached = bad
    expect(await failureOf(tokenFor(one, mine))).toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
  }
  cached = good
  expect(await failureOf(tokenFor(one, mine, sha256(mine.accessToken)))).toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
  expect(await failureOf(tokenFor(one, mine))).toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
  expect(new Set(forgotten)).toEqual(new Set([epoch]))
})
