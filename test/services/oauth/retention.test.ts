import { afterAll, beforeAll, expect, test } from 'vitest'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { postgresConnectStore } from '../../../services/oauth/connect/store.postgres.ts'
import { maxOfWorkspace } from '../../../services/oauth/connections/store.ts'
import { instruments } from '../../../services/oauth/metrics.ts'
import { expireAll } from '../../../services/oauth/retention.ts'
import { postgresRevocationStore } from '../../../services/oauth/revocations/store.postgres.ts'
import { type Harness, principal, openHarness, visit } from './connect/harness.ts'

let harness: Harness
beforeAll(async () => {
  harness = await openHarness()
})
afterAll(() => harness.close())

const metrics = new Metrics('oauth')
const dayMs = 24 * 3_600_000
const expire = () =>
  expireAll({
    steps: postgresConnectStore(harness.database),
    revocations: postgresRevocationStore(harness.database),
    connections: harness.connections,
    instruments: counted,
    log: createLogger('oauth', 'silent'),
    endedMs: 90 * dayMs,
  })
const counted = instruments(metrics)
const count = async (table: string) => Number((await harness.database.pool.query(`SELECT count(*) AS n FROM ${table}`)).rows[0].n)
const sql = (text: string) => harness.database.pool.query(text)

test('steps that have ended are forgotten, and none that has not', async () => {
  await harness.connectFlow.authorize(principal, { provider: 'example', scopes: [], returnTo: '' })
  await sql(
    `INSERT INTO connect_steps SELECT 'state', 'acme', sha256(n::text::bytea), 'x', clock_timestamp() - interval '1 s', 'bob' FROM generate_series(1, 450) n`,
  )
  expect(await expire()).toBe(true)
  while (await expire());
  expect(await count('connect_steps')).toBe(1)
})

test('a connection whose owner has had to connect anew for 90 days is forgotten, with an event; one that works never is', async () => {
  for (const actor of ['working', 'ended', 'ended-lately', 'ended-by-older-code']) {
    expect((await harness.connectFlow.callback(await harness.cameBack({ actor }, { account: `${actor}@example.com` }), visit)).status).toBe(
      200,
    )
    if (actor === 'working') continue
    const since =
      { ended: `clock_timestamp() - interval '91 days'`, 'ended-lately': `clock_timestamp() - interval '89 days'` }[actor] ?? 'NULL'
    await sql(`UPDATE connections SET status = 'reauth_required', reason = 'GRANT_ENDED', ended_at = ${since} WHERE actor = '${actor}'`)
  }
  await sql(`UPDATE connections SET connected_at = connected_at - interval '10 years' WHERE actor = 'working'`)
  await expire()
  const { rows } = await sql('SELECT actor FROM connections ORDER BY actor')
  expect(rows.map(({ actor }) => actor as string)).toEqual(['ended-by-older-code', 'ended-lately', 'working'])
  const events = (await harness.events()).filter(({ action }) => action === 'connection.removed')
  expect(events).toEqual([expect.objectContaining({ actor: 'ended', reason: 'EXPIRED', keyId: '' })])
  // From now on its time runs too.
  expect((await sql(`SELECT FROM connections WHERE status = 'reauth_required' AND ended_at IS NULL`)).rows).toEqual([])
})

test('pending revocations are counted, with the age of the oldest', async () => {
  const pending = () => postgresRevocationStore(harness.database).pending()
  expect(await pending()).toEqual({ count: 0, lagMs: 0 })
  await sql(
    `INSERT INTO revocations SELECT gen_random_uuid(), 'acme', gen_random_uuid(), 'example', NULL, NULL, 'refresh', 'x', false, 9, 'infinity',
       clock_timestamp() - n * interval '1 hour' FROM generate_series(1, 3) n`,
  )
  const { count: counted, lagMs } = await pending()
  expect(counted).toBe(3)
  expect(lagMs / 3_600_000).toBeCloseTo(3, 1)
  await sql('DELETE FROM revocations')
})

test('a revocation that a provider does not take for a day is given up, and counted', async () => {
  await sql(
    `INSERT INTO revocations SELECT gen_random_uuid(), 'acme', gen_random_uuid(), 'example', NULL, NULL, 'refresh', 'x', false, 9, 'infinity',
       clock_timestamp() - n * interval '23 hours' FROM generate_series(1, 2) n`,
  )
  await expire()
  expect(await count('revocations')).toBe(1)
  expect(await metrics.registry.metrics()).toMatch(/oauth_revocations_given_up_total(?:\{[^}]*\})? 1/)
})

test('a workspace that has as many connections as it may connects no further one, and may still connect those that it has anew', async () => {
  await sql(
    `INSERT INTO connections (connection_id, workspace, actor, provider, account, scopes, access_sealed, access_expires_at)
     SELECT gen_random_uuid(), 'full', 'actor-' || n, 'example', 'x', '{}', 'x', clock_timestamp() FROM generate_series(1, ${maxOfWorkspace}) n`,
  )
  const wanted = { provider: 'example', scopes: [], returnTo: '' }
  await expect(harness.connectFlow.authorize({ ...principal, workspace: 'full' }, wanted)).rejects.toMatchObject({
    reason: 'CONNECTION_LIMIT',
  })
  await harness.connectFlow.authorize({ ...principal, workspace: 'full', actor: 'actor-7' }, wanted)
  await harness.connectFlow.authorize(principal, wanted)
})
