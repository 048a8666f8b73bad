import { randomBytes } from 'node:crypto'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Secret } from '#mesh/config.ts'
import { Database } from '#mesh/postgres/database.ts'
import { hashOf } from '../../services/oauth/connect/state-token.ts'
import { postgresConnectStore } from '../../services/oauth/connect/store.postgres.ts'
import { type FreshDatabase, freshDatabase } from '../setup/database.ts'
import { connectStoreContract } from './connect-store.ts'

const log = pino({ level: 'silent' })
const migrations = new URL('../../services/oauth/migrations/', import.meta.url)
const openDatabase = (url: string) => new Database({ url: new Secret(url), log })

connectStoreContract('Postgres', async () => {
  const fresh = await freshDatabase(migrations)
  const open = [openDatabase(fresh.url), openDatabase(fresh.url)]
  return {
    stores: [postgresConnectStore(open[0]!), postgresConnectStore(open[1]!)],
    async reconnected() {
      await open[0]!.pool.query(
        'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
      )
      const again = openDatabase(fresh.url)
      open.push(again)
      return postgresConnectStore(again)
    },
    async everything() {
      const { rows } = await open.at(-1)!.pool.query<{ row: string }>('SELECT s::text AS row FROM connect_steps s')
      return rows.map(({ row }) => row).join('\n')
    },
    async close() {
      await Promise.all(open.map((database) => database.close()))
      await fresh.drop()
    },
  }
})

let fresh: FreshDatabase
let database: Database
beforeAll(async () => {
  fresh = await freshDatabase(migrations)
  database = openDatabase(fresh.url)
})
afterAll(async () => {
  await database.close()
  await fresh.drop()
})

const count = async () => Number((await database.pool.query('SELECT count(*) AS count FROM connect_steps')).rows[0].count)
const key = () => ({ kind: 'ticket' as const, workspace: 'acme', hash: hashOf(randomBytes(32).toString('hex')) })
const step = (content: string) => ({ ...key(), actor: 'ann', content, lifetimeMs: 600_000 })

test('steps that were never taken are removed as others are added', async () => {
  const store = postgresConnectStore(database)
  for (let index = 0; index < 30; index += 1) await store.put(step('old'))
  await database.pool.query(`UPDATE connect_steps SET expires_at = clock_timestamp() - interval '1 second'`)
  await Promise.all([store.put(step('new')), store.put(step('new'))])
  await store.put(step('new'))
  expect(await count()).toBe(3)
})

test('an unavailable database is an outage, not an unknown step', async () => {
  const away = openDatabase('postgres://nobody@127.0.0.1:1/none')
  await expect(postgresConnectStore(away).take(key())).rejects.toMatchObject({ reason: 'DEPENDENCY_UNAVAILABLE' })
  await away.close()
})
