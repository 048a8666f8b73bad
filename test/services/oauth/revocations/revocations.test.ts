import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { json } from '../authorization-server.ts'
import { type Harness, principal, openHarness, visit } from '../connect/harness.ts'

let harness: Harness
beforeAll(async () => {
  harness = await openHarness()
})
afterEach(() => harness.database.pool.query('TRUNCATE revocations'))
afterAll(() => harness.close())

const ownerOf = (actor: string, provider = 'example') => ({ workspace: 'acme', actor, provider })
async function connect(actor: string, grant: object, provider = 'example') {
  const response = await harness.connectFlow.callback(await harness.cameBack({ actor, provider }, grant), visit)
  expect(response.status).toBe(200)
  return (await harness.connections.find(ownerOf(actor, provider)))!
}
const disconnect = (actor: string, connectionId: string) => harness.disconnector.disconnect({ ...principal, actor }, connectionId)
const isRevoked = (token: string) => harness.server.revoked.includes(`refresh_token ${token}`)
const waiting = async () => (await harness.database.pool.query<{ sealed: string }>('SELECT sealed FROM revocations')).rows
/** As if all that waits were due. */
const round = async () => {
  await harness.database.pool.query('UPDATE revocations SET due_at = clock_timestamp()')
  await harness.tokenRevoker.round()
}

describe('the same account', () => {
  test('is the same by its identifier, whatever its address is now; an address that changed hands is another account', async () => {
    const first = await connect('moved', { account: 'ann@example.com', claims: { sub: 'number-1' } })
    expect(first).toMatchObject({ issuer: harness.server.url, subject: 'number-1', account: 'ann@example.com' })
    const renamed = await connect('moved', { account: 'ann.new@example.com', claims: { sub: 'number-1' }, refreshToken: null })
    expect(renamed).toMatchObject({
      connectionId: first.connectionId,
      account: 'ann.new@example.com',
      tokens: { refresh: first.tokens.refresh },
    })
    const handed = await connect('moved', { account: 'ann.new@example.com', claims: { sub: 'number-2' } })
    expect(handed.connectionId).not.toBe(first.connectionId)
  })

  test('cannot be known of a connection from before: it is another one, and its tokens are left alone', async () => {
    const first = await connect('older', { refreshToken: 'of-older' })
    await harness.database.pool.query('UPDATE connections SET issuer = NULL, subject = NULL WHERE connection_id = $1', [first.connectionId])
    expect((await connect('older', {})).connectionId).not.toBe(first.connectionId)
    await round()
    expect(isRevoked('of-older')).toBe(false)
  })

  test('at another issuer is another account', async () => {
    const first = await connect('issuers', {})
    await harness.database.pool.query(`UPDATE connections SET issuer = 'https://other.example.com' WHERE connection_id = $1`, [
      first.connectionId,
    ])
    expect((await connect('issuers', {})).connectionId).not.toBe(first.connectionId)
  })
})

describe('what is of no use here any more', () => {
  test('is revoked at the provider when another account takes its place, without anybody waiting for it', async () => {
    const before = await connect('replaced', { account: 'one@example.com', refreshToken: 'of-one' })
    harness.server.next('/revoke', json(503, {}))
    await connect('replaced', { account: 'two@example.com', refreshToken: 'of-two' })
    expect(isRevoked('of-one')).toBe(false)
    expect(await waiting()).toHaveLength(1)
    await round()
    expect(await waiting()).toHaveLength(1)
    await round()
    expect(isRevoked('of-one')).toBe(true)
    expect(isRevoked('of-two')).toBe(false)
    expect(await waiting()).toEqual([])
    expect(before.account).toBe('one@example.com')
  })

  test('is left alone where the same account gave new tokens, unless the provider ends but the grant of each', async () => {
    for (const [provider, revoked] of [
      ['example', false],
      ['granting', true],
    ] as const) {
      await connect(`renewed-${provider}`, { refreshToken: `first-of-${provider}` }, provider)
      await connect(`renewed-${provider}`, { refreshToken: `second-of-${provider}` }, provider)
      await round()
      expect(isRevoked(`first-of-${provider}`)).toBe(revoked)
      expect(isRevoked(`second-of-${provider}`)).toBe(false)
    }
  })

  test('is left alone as long as another connection of the account stands, which it would end', async () => {
    const account = 'shared@example.com'
    const one = await connect('one-of-two', { account, refreshToken: 'shared-one' })
    const two = await connect('two-of-two', { account, refreshToken: 'shared-two' })
    expect(await disconnect('one-of-two', one.connectionId)).toEqual({ revoked: false })
    expect(isRevoked('shared-one')).toBe(false)
    expect(await disconnect('two-of-two', two.connectionId)).toEqual({ revoked: true })
    expect(isRevoked('shared-two')).toBe(true)
    expect(await waiting()).toEqual([])
  })

  test('is forgotten at once by a disconnect and revoked when the provider answers again; another’s connection is not there', async () => {
    const { connectionId } = await connect('leaving', { account: 'leaving@example.com', refreshToken: 'of-leaving' })
    for (const other of [
      { ...principal, actor: 'eve' },
      { ...principal, actor: 'leaving', workspace: 'other' },
    ]) {
      await expect(harness.disconnector.disconnect(other, connectionId)).rejects.toMatchObject({ reason: 'CONNECTION_NOT_FOUND' })
    }
    harness.server.next('/revoke', json(503, {}))
    expect(await disconnect('leaving', connectionId)).toEqual({ revoked: false })
    expect(await harness.connections.find(ownerOf('leaving'))).toBeUndefined()
    await expect(disconnect('leaving', connectionId)).rejects.toMatchObject({ reason: 'CONNECTION_NOT_FOUND' })
    expect(await waiting()).toHaveLength(1)
    await round()
    expect(isRevoked('of-leaving')).toBe(true)
    expect(await waiting()).toEqual([])
  })

  test('waits no longer for a provider that does not answer than a person would', async () => {
    const { connectionId } = await connect('patient', { account: 'patient@example.com', refreshToken: 'of-patient' })
    harness.server.next('/revoke', () => undefined)
    const began = performance.now()
    expect(await disconnect('patient', connectionId)).toEqual({ revoked: false })
    expect(performance.now() - began).toBeLessThan(4000)
  })

  test('is not asked for again where the provider says no', async () => {
    const { connectionId } = await connect('refusing', { account: 'refusing@example.com' })
    harness.server.next('/revoke', json(400, { error: 'invalid_token' }))
    expect(await disconnect('refusing', connectionId)).toEqual({ revoked: false })
    expect(await waiting()).toEqual([])
  })

  test('is sealed while it waits, and of one workspace no more waits than a limit', async () => {
    const { connectionId } = await connect('sealed', { account: 'sealed@example.com', refreshToken: 'of-sealed' })
    await harness.database.pool.query(
      `INSERT INTO revocations SELECT gen_random_uuid(), 'acme', gen_random_uuid(), 'example', NULL, NULL, 'refresh', 'x', false, 0,
         'infinity' FROM generate_series(1, 999)`,
    )
    harness.server.next('/revoke', json(503, {}), json(503, {}))
    await disconnect('sealed', connectionId)
    const rows = await waiting()
    expect(rows).toHaveLength(1000)
    expect(JSON.stringify(rows)).not.toContain('of-sealed')
    const more = await connect('beyond', { account: 'beyond@example.com' })
    await disconnect('beyond', more.connectionId)
    expect(await waiting()).toHaveLength(1000)
    expect(await harness.connections.find(ownerOf('beyond'))).toBeUndefined()
  })
})
