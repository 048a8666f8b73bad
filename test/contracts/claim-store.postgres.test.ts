import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Secret } from '#mesh/config.ts'
import { Database } from '#mesh/postgres/database.ts'
import type { Statement } from '#mesh/postgres/statement.ts'
import { PostgresClaimStore } from '../../services/idempotency/store.postgres.ts'
import { type FreshDatabase, freshDatabase } from '../setup/database.ts'
import { full } from '../setup/seed.ts'
import { type Engine, byRun, completion, freshKey, granted, look, outcomes, request, retentionMs, times } from './claim-requests.ts'
import { claimStoreContract } from './claim-store.ts'

const migrations = new URL('../../services/idempotency/migrations/', import.meta.url)
const log = pino({ level: 'silent' })

const openDatabase = ({ url }: FreshDatabase): Database => new Database({ url: new Secret(url), log })

async function open(): Promise<Engine> {
  const fresh = await freshDatabase(migrations)
  const database = openDatabase(fresh)
  return {
    store: new PostgresClaimStore({ database, retentionMs }),
    // Its clock cannot be set, but what it is compared with can.
    async advance(ms) {
      const shift = `$1::float8 * interval '1 millisecond'`
      const text = `UPDATE claims SET lease_until = lease_until - ${shift}, completed_at = completed_at - ${shift}`
      await database.query({ name: 'test advance', text }, [ms])
    },
    async size() {
      const [row] = await database.query<{ count: number }>({ name: 'test size', text: 'SELECT count(*)::int AS count FROM claims' })
      return row!.count
    },
    async close() {
      await database.close()
      await fresh.drop()
    },
  }
}

claimStoreContract('Postgres', open, { walks: full ? 500 : 30 })

describe('claims in one Postgres, asked through several replicas', () => {
  let fresh: FreshDatabase
  let databases: Database[]
  let stores: PostgresClaimStore[]
  beforeAll(async () => {
    fresh = await freshDatabase(migrations)
    databases = times(3, () => openDatabase(fresh))
    stores = databases.map((database) => new PostgresClaimStore({ database, retentionMs }))
  })
  afterAll(async () => {
    await Promise.all(databases.map((database) => database.close()))
    await fresh.drop()
  })

  test('of 100 who ask at once for one key one is granted the work', async () => {
    for (let round = 0; round < 10; round += 1) {
      const key = freshKey()
      const responses = await Promise.all(times(100, (index) => stores[index % 3]!.claim(key, request())))
      expect(outcomes(responses)).toEqual({ granted: 1, in_flight: 99 })
      expect(new Set(responses.map((each) => (each as { runId: string }).runId)).size).toBe(1)
    }
  })

  test('the same keys requested in opposite orders are granted once each, without a deadlock', async () => {
    for (let round = 0; round < 5; round += 1) {
      const keys = times(150, () => freshKey())
      const orders = [keys, keys.toReversed(), [...keys.slice(75), ...keys.slice(0, 75)]]
      const responses = await Promise.all(stores.flatMap((store, index) => orders[index]!.map((key) => store.claim(key, request()))))
      expect(outcomes(responses)).toEqual({ granted: 150, in_flight: 300 })
    }
  })

  test('the same runs completed in opposite orders while the reaper works are all completed', async () => {
    for (let round = 0; round < 5; round += 1) {
      const keys = times(100, () => freshKey())
      const grants = await Promise.all(keys.map((key) => stores[0]!.claim(key, request()).then(granted)))
      const each = keys.map((key, index) => ({ key, grant: grants[index]! }))
      const ends = await Promise.all([
        ...each.map(({ key, grant }) => stores[0]!.complete(key, completion(grant))),
        ...each.toReversed().map(({ key, grant }) => stores[1]!.complete(key, byRun(grant.runId))),
        ...each.map(({ key, grant }) => stores[2]!.complete(key, completion(grant, Buffer.from('response')))),
        ...times(5, (index) => stores[index % 3]!.reap(100).then(() => 'done')),
      ])
      expect(new Set(ends)).toEqual(new Set(['done']))
      const responses = await Promise.all(keys.map((key) => stores[1]!.claim(key, look())))
      expect(outcomes(responses)).toEqual({ completed: 100 })
    }
  })

  test('a store that is opened later finds what an earlier one wrote', async () => {
    const [open_, ended] = [freshKey(), freshKey()]
    const held = granted(await stores[0]!.claim(open_, request()))
    await stores[0]!.complete(ended, completion(granted(await stores[0]!.claim(ended, request())), Buffer.from('kept')))
    const database = openDatabase(fresh)
    try {
      const later = new PostgresClaimStore({ database, retentionMs })
      expect(await later.claim(open_, look())).toMatchObject({ outcome: 'in_flight', runId: held.runId })
      expect(await later.claim(ended, look())).toMatchObject({ outcome: 'completed', response: Buffer.from('kept') })
    } finally {
      await database.close()
    }
  })

  describe('overtaken between the reading and the writing', () => {
    /** A store before whose every conditional write something happens. */
    const overtaken = (before: () => Promise<unknown>): PostgresClaimStore => {
      const database = Object.assign(Object.create(databases[1]!) as Database, {
        async query(statement: Statement, values?: readonly unknown[]) {
          if (statement.name === 'claims replace' || statement.name === 'claims remove') await before()
          return databases[1]!.query(statement, values)
        },
      })
      return new PostgresClaimStore({ database, retentionMs })
    }
    const leaseMs = 60_000
    const lapsed = async () => {
      const key = freshKey()
      const held = granted(await stores[0]!.claim(key, request({ leaseMs: 0 })))
      return { key, held }
    }

    test('a claim is not taken over from a holder who renewed meanwhile', async () => {
      const { key, held } = await lapsed()
      const late = overtaken(() => stores[0]!.renew(key, { token: held.token, leaseMs }))
      expect(await late.claim(key, request())).toMatchObject({ outcome: 'in_flight', runId: held.runId })
      expect(await stores[0]!.complete(key, completion(held))).toBe('done')
    })

    test('a claim is not taken over once it was completed meanwhile: its end is answered', async () => {
      const { key, held } = await lapsed()
      const late = overtaken(() => stores[0]!.complete(key, completion(held)))
      expect(await late.claim(key, request())).toEqual({ outcome: 'completed', runId: held.runId, response: undefined })
    })

    test('a holder whose claim was taken over renews, completes and releases nothing', async () => {
      for (const write of ['renew', 'complete', 'release'] as const) {
        const { key, held } = await lapsed()
        const late = overtaken(() => stores[0]!.claim(key, request({ leaseMs })))
        const written = {
          renew: () => late.renew(key, { token: held.token, leaseMs }),
          complete: () => late.complete(key, completion(held, Buffer.from('late'))),
          release: () => late.release(key, held.token),
        }
        expect(await written[write]()).toBe('stale')
        expect(await stores[0]!.claim(key, look())).toMatchObject({ outcome: 'in_flight', runId: held.runId })
      }
    })

    test('a key that was released and granted again meanwhile is neither taken over nor released as the old grant', async () => {
      for (const write of ['claim', 'release'] as const) {
        const { key, held } = await lapsed()
        const next = request({ leaseMs })
        const late = overtaken(async () => {
          if ((await stores[0]!.release(key, held.token)) === 'done') await stores[0]!.claim(key, next)
        })
        if (write === 'claim') expect(await late.claim(key, request())).toMatchObject({ outcome: 'in_flight', runId: next.runId })
        else expect(await late.release(key, held.token)).toBe('stale')
        expect(await stores[0]!.renew(key, { token: next.token, leaseMs })).toBe('done')
      }
    })

    test('a caller who is overtaken every time gets an error in the end, and has changed nothing', async () => {
      const { key, held } = await lapsed()
      const late = overtaken(() => stores[0]!.renew(key, { token: held.token, leaseMs: 0 }))
      await expect(late.claim(key, request())).rejects.toMatchObject({ reason: 'CONTENDED', code: 'UNAVAILABLE' })
      expect(await stores[0]!.renew(key, { token: held.token, leaseMs })).toBe('done')
    })
  })

  test('the table refuses a claim that is in flight and completed at once, or neither, or has a response before its end', async () => {
    const insert = (columns: string, values: string) =>
      databases[0]!.query(
        {
          name: `test ${columns} ${values}`,
          text: `INSERT INTO claims (workspace, key_kind, key, fingerprint, run_id, attempt_id, token, ${columns})
                 VALUES ('w', 'client', 'refused', decode(repeat('00', 16), 'hex'), $1, $1, $1, ${values})`,
        },
        [randomUUID()],
      )
    await expect(insert('lease_until, completed_at', 'now(), now()')).rejects.toThrow('in_flight_or_completed')
    await expect(insert('lease_until, completed_at', 'NULL, NULL')).rejects.toThrow('in_flight_or_completed')
    await expect(insert('lease_until, response', `now(), ''`)).rejects.toThrow('response_once_completed')
  })
})
