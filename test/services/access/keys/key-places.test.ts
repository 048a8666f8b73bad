/** The migration that gives each key its place below those that it descends from: keys from before get the one that a new key would. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { postgresKeyStore } from '../../../../services/access/keys/store.postgres.ts'
import { added, freshWorkspace, newKey } from '../../../contracts/key-requests.ts'
import { type AccessDatabase, accessDatabase } from './database.ts'

let access: AccessDatabase
beforeAll(async () => {
  access = await accessDatabase()
})
afterAll(() => access.close())

test('keys from before have their place: the migration finds it for what is there', async () => {
  const store = postgresKeyStore(access.database)
  const root = await added(store, newKey({ workspace: freshWorkspace() }))
  const line = [root]
  for (let depth = 1; depth < 40; depth += 1)
    line.push(await added(store, newKey({ workspace: root.workspace, parent: line.at(-1)!.keyId })))
  const places = async () =>
    (await access.database.pool.query<{ depth: number }>('SELECT key_id, depth, jump, jump_depth FROM api_keys ORDER BY depth')).rows
  const before = await places()
  expect(before.map(({ depth }) => depth)).toEqual(line.map((_, depth) => depth))
  const migration = readFileSync(new URL('../../../../services/access/migrations/0010_key_places.sql', import.meta.url), 'utf8')
  const undone = `DROP TRIGGER place_key ON api_keys; DROP FUNCTION place_key; DROP INDEX api_keys_living_until;
    ALTER TABLE api_keys DROP COLUMN depth, DROP COLUMN jump, DROP COLUMN jump_depth;
    CREATE INDEX api_keys_living ON api_keys (workspace) WHERE revoked_at IS NULL;`
  await access.database.pool.query(`${undone} ${migration}`)
  expect(await places()).toEqual(before)
})
