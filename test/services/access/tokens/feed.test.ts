/** The feed of a real database, as a process reads it that starts after keys were revoked. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { AccessFeed } from '#mesh/identity/follow.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { postgresKeyStore } from '../../../../services/access/keys/store.postgres.ts'
import type { KeyStore } from '../../../../services/access/keys/store.ts'
import { feed } from '../../../../services/access/tokens/feed.ts'
import { localFollow } from '../../../../services/access/tokens/service.ts'
import { added, eventOf, revokeIn } from '../../../contracts/key-requests.ts'
import { fakeMesh } from '../../../fakes/identity.ts'
import { until } from '../../../fixtures/mesh/until.ts'
import { type AccessDatabase, accessDatabase } from '../keys/database.ts'

const minuteMs = 60_000
const { signingKeys } = fakeMesh()
let access: AccessDatabase
let keys: KeyStore
beforeAll(async () => {
  access = await accessDatabase()
  keys = postgresKeyStore(access.database)
})
afterAll(() => access.close())
beforeEach(() => access.database.pool.query('DELETE FROM revocations'))

/** Lets that many milliseconds pass for every revocation. */
const advance = (ms: number) =>
  access.database.pool.query(
    `UPDATE revocations SET recorded_at = recorded_at - $1::float8 * interval '1 millisecond',
       not_after = not_after - $1::float8 * interval '1 millisecond'`,
    [ms],
  )

/** A process that starts now, as soon as it can say of a key whether it stands. */
async function startedLate(): Promise<(keyId: string) => boolean> {
  const ring = { published: async () => [...signingKeys] }
  const signatures = { changedAfter: async () => ({ states: [], sequence: 0, more: false }) }
  const follow = localFollow(feed({ ring, keys, signatures, rootId: '' }))
  const late = new AccessFeed({ follow, log: createLogger('tested', 'silent'), metrics: new Metrics('tested') })
  const keyStands = (keyId: string) => late.keyStands(keyId)
  late.start()
  try {
    await until(
      'it can say',
      () => {
        try {
          return keyStands('any') || true
        } catch {
          return false
        }
      },
      20_000,
    )
  } finally {
    await late.stop()
  }
  return keyStands
}

test('a process that starts half an hour after a key was revoked, less a minute, knows of it', async () => {
  const key = await added(keys)
  await revokeIn(keys, key, eventOf())
  await advance(29 * minuteMs)
  expect((await startedLate())(key.keyId)).toBe(false)
})

test('a process that starts after more keys were revoked than one answer holds says of none of them that it stands', async () => {
  const [many, last, other] = [await added(keys), await added(keys), await added(keys)]
  await access.database.pool.query(
    'INSERT INTO revocations (key_id, not_after) SELECT $1, clock_timestamp() FROM generate_series(1, 5000)',
    [many.keyId],
  )
  await revokeIn(keys, last, eventOf())
  const keyStands = await startedLate()
  expect([many, last, other].map(({ keyId }) => keyStands(keyId))).toEqual([false, false, true])
})
