/** The migrations that give admins a new permission: who made keys must be able to go on making ones like their own. */
import { readFileSync } from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { roles } from '../../../../services/access/keys/roles.ts'
import { type AccessDatabase, accessDatabase, openDatabase } from './database.ts'

const read = (name: string) => readFileSync(new URL(`../../../../services/access/migrations/${name}.sql`, import.meta.url), 'utf8')

let harness: AccessDatabase
beforeEach(async () => {
  harness = await accessDatabase()
})
afterEach(() => harness.close())

test.each([
  ['metrics:read', '0008_read_metrics'],
  ['runs:settle', '0009_settle_runs'],
])('an admin key from before has %s, once; one that was narrowed, and other roles, have not', async (added, file) => {
  const migration = read(file)
  const database = openDatabase(harness.url)
  const before = (permissions: readonly string[]) => permissions.filter((permission) => permission !== added)
  const add = (name: string, role: string, permissions: readonly string[]) =>
    database.query(
      {
        name: `test add ${name}`,
        text: `INSERT INTO api_keys (key_id, hash, workspace, actor, name, role, permissions, preview_only, allowed_sources, created_by, life_ms, expires_at)
             VALUES (gen_random_uuid(), sha256($1::text::bytea), 'acme', 'ann', $1, $2, $3, false, '{}', 'ann', 3600000, now() + interval '1 hour')`,
      },
      [name, role, permissions],
    )
  await add('admin', 'admin', before(roles.admin))
  await add('narrowed', 'admin', ['audit:read'])
  await add('developer', 'developer', roles.developer)
  for (let round = 0; round < 2; round += 1) await database.query({ name: `test migrate ${round}`, text: migration })
  const rows = await database.query<{ name: string; permissions: string[] }>({
    name: 'test read',
    text: 'SELECT name, permissions FROM api_keys',
  })
  await database.close()
  const may = Object.fromEntries(rows.map(({ name, permissions }) => [name, permissions.toSorted()]))
  expect(may).toEqual({ admin: [...roles.admin].toSorted(), narrowed: ['audit:read'], developer: [...roles.developer].toSorted() })
})
