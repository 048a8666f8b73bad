import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Database } from '#mesh/postgres/database.ts'
import type { StoredKey } from '../../services/access/keys/key.ts'
import { postgresKeyStore } from '../../services/access/keys/store.postgres.ts'
import type { KeyStore } from '../../services/access/keys/store.ts'
import { until } from '../fixtures/mesh/until.ts'
import { type AccessDatabase, accessDatabase, openDatabase } from '../services/access/keys/database.ts'
import { type Engine, added, dayMs, eventOf, given, newKey, revokeIn, rotationOf } from './key-requests.ts'
import { keyLineageContract } from './key-lineage.ts'
import { keyStoreContract } from './key-store.ts'

async function open(): Promise<Engine> {
  const { database, events, close } = await accessDatabase()
  return {
    store: postgresKeyStore(database),
    // Its clock cannot be set, but what it is compared with can.
    async advance(ms) {
      const set = (...columns: string[]) => columns.map((column) => `${column} = ${column} - $1::float8 * interval '1 millisecond'`).join()
      await database.pool.query(`UPDATE api_keys SET ${set('created_at', 'expires_at', 'revoked_at', 'last_used_at')}`, [ms])
      await database.pool.query(`UPDATE revocations SET ${set('not_after', 'recorded_at')}`, [ms])
    },
    events,
    close,
  }
}

keyStoreContract('Postgres', open)
keyLineageContract('Postgres', open)

describe('keys in one Postgres, through several replicas', () => {
  let access: AccessDatabase
  let databases: Database[]
  let stores: KeyStore[]
  beforeAll(async () => {
    access = await accessDatabase()
    databases = [1, 2, 3].map(() => openDatabase(access.url))
    stores = databases.map((database) => postgresKeyStore(database))
  })
  afterAll(async () => {
    await Promise.all(databases.map((database) => database.close()))
    await access.close()
  })

  test('a follower misses none of the keys that are ended while it follows, 50 at once, and sees each once', async () => {
    const keys: StoredKey[] = []
    while (keys.length < 150) keys.push(...(await Promise.all(stores.map((store) => added(store)))))
    const seen: string[] = []
    let sequence = 0
    const follow = async () => {
      const response = await stores[0]!.revocationsAfter(sequence, dayMs)
      for (const revocation of response.revocations) seen.push(revocation.keyId)
      sequence = response.sequence
    }
    let ending = true
    const following = (async () => {
      while (ending) await follow()
    })()
    const end = (index: number) => {
      const [store, key] = [stores[index % 3]!, keys[index]!]
      return index % 5 === 0 ? store.rotate(rotationOf(key), eventOf()) : revokeIn(store, key, eventOf())
    }
    for (let from = 0; from < keys.length; from += 50) await Promise.all(keys.slice(from, from + 50).map((_, index) => end(from + index)))
    ending = false
    await following
    await follow()
    expect(seen.toSorted()).toEqual(keys.map(({ keyId }) => keyId).toSorted())
  })

  test('a follower does not see a revocation while an earlier number may still come to light', async () => {
    const [slow, quick] = [await added(stores[0]!), await added(stores[0]!)]
    // Whoever ends the slow one is held up in its commit until the test lets go.
    const hold = 'pg_advisory_xact_lock(4711)'
    await access.database.pool.query(`
      CREATE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM ${hold}; RETURN NULL; END $$;
      CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON revocations DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
        WHEN (NEW.key_id = '${slow.keyId}') EXECUTE FUNCTION slow_commit()`)
    const waiters = `SELECT 1 FROM pg_locks JOIN pg_database d ON d.oid = database WHERE datname = current_database() AND NOT granted`
    const waiting = async () => (await access.database.pool.query(waiters)).rows.length
    let { sequence } = await stores[2]!.revocationsAfter(0, dayMs)
    const seen: string[] = []
    const follow = async () => {
      const response = await stores[2]!.revocationsAfter(sequence, dayMs)
      for (const { keyId } of response.revocations) seen.push(keyId)
      sequence = response.sequence
    }
    const holder = await access.database.pool.connect()
    let first, second
    try {
      await holder.query(`BEGIN; SELECT ${hold}`)
      first = revokeIn(stores[0]!, slow, eventOf())
      await until('the first waits in its commit', async () => (await waiting()) === 1)
      let done = false
      second = revokeIn(stores[1]!, quick, eventOf()).then(() => (done = true))
      await until('the second waits too, or is through', async () => done || (await waiting()) === 2)
      await follow()
      await holder.query('COMMIT')
    } finally {
      holder.release()
      await Promise.all([first, second])
      await access.database.pool.query('DROP TRIGGER slow_commit ON revocations')
    }
    await follow()
    expect(seen).toEqual([slow.keyId, quick.keyId])
  })

  test('of many who rotate a key without an overlap one succeeds; the rest hear that it has ended', async () => {
    const key = await added(stores[0]!)
    const responses = await Promise.all(Array.from({ length: 12 }, (_, index) => stores[index % 3]!.rotate(rotationOf(key, 0), eventOf())))
    expect(responses.filter((response) => response !== 'ended')).toHaveLength(1)
  })

  test('uses recorded in opposite orders while keys are revoked and rotated cause no deadlock', async () => {
    const keys = await Promise.all(Array.from({ length: 24 }, (_, index) => added(stores[index % 3]!)))
    const uses = keys.map(({ keyId }): [string, Date] => [keyId, new Date()])
    await Promise.all([
      ...Array.from({ length: 9 }, (_, index) => stores[index % 3]!.noteUsed(new Map(index % 2 === 0 ? uses : uses.toReversed()))),
      ...keys.map((key, index) => {
        const store = stores[index % 3]!
        return index % 2 === 0 ? revokeIn(store, key, eventOf()) : store.rotate(rotationOf(key), eventOf())
      }),
    ])
    for (const { workspace, keyId } of keys) expect(given(await stores[0]!.find(workspace, keyId)).lastUsedAt).toBeInstanceOf(Date)
  })

  test('a hash is of one key alone', async () => {
    const key = newKey()
    await added(stores[0]!, key)
    await expect(stores[1]!.add(newKey({ hash: key.hash }), eventOf())).rejects.toThrow()
  })
})
