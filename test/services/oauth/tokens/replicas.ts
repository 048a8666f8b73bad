/** For the tests of one file: a database, and after each test an end to its replicas and a new provider. */
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest'
import { type FreshDatabase, freshDatabase } from '../../../setup/database.ts'
import { FakeProvider, type Replica, type ReplicaOptions, openReplica } from './replica.ts'

let fresh: FreshDatabase
const open: Replica[] = []
/** Of all replicas of the test. */
export let provider: FakeProvider

/** To be called once by each test file: files of one process share this module, and each has a database of its own. */
export function useReplicas(): void {
  beforeAll(async () => {
    fresh = await freshDatabase(new URL('../../../../services/oauth/migrations/', import.meta.url))
  })
  beforeEach(() => {
    provider = new FakeProvider()
  })
  afterEach(async () => {
    for (const each of open.splice(0)) await each.close()
  })
  afterAll(() => fresh.drop())
}

/** Another one on the same database. */
export function replica(options?: ReplicaOptions): Replica {
  const opened = openReplica(fresh.url, provider, options)
  open.push(opened)
  return opened
}

/** As if an hour had passed, and so much were left of every token. */
export const lastOf = ({ database }: Replica, left: string) =>
  database.pool.query(
    `UPDATE connections SET connected_at = connected_at - interval '1 hour', access_expires_at = clock_timestamp() + $1::interval`,
    [left],
  )
