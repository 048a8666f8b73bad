/** Keys that ended are kept for 90 days, and whoever holds a key can make as many of them as time allows: they must not protect it. */
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Secret } from '#mesh/config.ts'
import { Database } from '#mesh/postgres/database.ts'
import type { StoredKey } from '../../../../services/access/keys/key.ts'
import { postgresKeyStore } from '../../../../services/access/keys/store.postgres.ts'
import type { KeyStore, RevokeResult } from '../../../../services/access/keys/store.ts'
import { added, eventOf, freshWorkspace, given, newKey, revokingOf, rotationOf } from '../../../contracts/key-requests.ts'
import { type AccessDatabase, accessDatabase } from './database.ts'

/** As the service has it: a statement that takes longer is given up. */
const statementMs = 1500
const many = 50_000

let access: AccessDatabase
let database: Database
let store: KeyStore
beforeAll(async () => {
  access = await accessDatabase()
  database = new Database({ url: new Secret(access.url), log: pino({ level: 'silent' }), statementMs })
  store = postgresKeyStore(database)
})
afterAll(async () => {
  await database.close()
  await access.close()
})

/** Without the time limits of the service. */
async function directly(text: string, values: unknown[]): Promise<void> {
  const client = await access.database.pool.connect()
  try {
    await client.query('SET statement_timeout = 0')
    const query = { query_timeout: 120_000, text, values }
    await client.query(query)
    await client.query('ANALYZE api_keys')
  } finally {
    client.release(true)
  }
}

/** As rotating a child again and again without an overlap makes them: expired, not revoked. */
const endedChildren = (parent: StoredKey) =>
  directly(
    `INSERT INTO api_keys (key_id, hash, workspace, actor, name, role, permissions, preview_only, allowed_sources, created_by, parent, expires_at)
     SELECT gen_random_uuid(), sha256(('child' || at || $1::text)::bytea), workspace, actor, 'x', role, permissions, false, '{}', actor, key_id, now()
     FROM api_keys, generate_series(1, $2::int) AS at WHERE key_id = $1::uuid`,
    [parent.keyId, many],
  )

const idInLine = (at: string) => `md5(($1::uuid)::text || ${at})::uuid`

/** As a key that rotates itself, and whose successor does, makes them: each the child of the one before. The last one's id. */
async function endedLine(top: StoredKey, seed: string): Promise<string> {
  await directly(
    `INSERT INTO api_keys (key_id, hash, workspace, actor, name, role, permissions, preview_only, allowed_sources, created_by, parent, expires_at)
     SELECT ${idInLine('at')}, sha256(('line' || at || $1::uuid)::bytea), workspace, actor, 'x', role, permissions, false, '{}', actor,
       CASE WHEN at = 1 THEN key_id ELSE ${idInLine('(at - 1)')} END, CASE WHEN at < $2::int THEN now() END
     FROM (SELECT * FROM api_keys WHERE key_id = $3::uuid) AS top, generate_series(1, $2::int) AS at ORDER BY at`,
    [seed, many, top.keyId],
  )
  const [last] = await access.database.query<{ id: string }>({ name: 'test last of line', text: `SELECT ${idInLine('$2::text')} AS id` }, [
    seed,
    String(many),
  ])
  return last!.id
}

async function revokedInTime(key: StoredKey): Promise<RevokeResult> {
  const startedAt = performance.now()
  const revoked = given<RevokeResult>(await store.revoke(revokingOf(key), () => eventOf('keys.revoke')))
  expect(performance.now() - startedAt).toBeLessThan(statementMs)
  return revoked
}

test('a key with fifty thousand ended children is revoked in time, with all that lives below it', { timeout: 180_000 }, async () => {
  const root = await added(store, newKey({ workspace: freshWorkspace() }))
  const below = (parent: StoredKey) => added(store, newKey({ workspace: root.workspace, parent: parent.keyId }))
  const [child, ended] = [await below(root), await below(root)]
  const grandchild = await below(ended)
  given(await store.rotate(rotationOf(ended, 0), eventOf()))
  await endedChildren(root)
  const sister = await below(root)
  const { key, children } = await revokedInTime(root)
  expect(key.status).toBe('revoked')
  expect(children.toSorted()).toEqual([child.keyId, grandchild.keyId, sister.keyId].toSorted())
})

test(
  'a key that ended fifty thousand rotations ago is revoked in time, with the one key that lives of them',
  { timeout: 180_000 },
  async () => {
    const root = await added(store, newKey({ workspace: freshWorkspace() }))
    const beside = await added(store, newKey({ workspace: root.workspace, parent: root.keyId }))
    const first = await added(store, newKey({ workspace: root.workspace, parent: root.keyId }))
    const last = await endedLine(first, root.keyId)
    const { children } = await revokedInTime(first)
    expect(children).toEqual([last])
    expect((await store.find(beside.workspace, beside.keyId))!.status).toBe('active')
  },
)

test(
  'as many living keys as a workspace may have are revoked in time with the key that they descend from',
  { timeout: 180_000 },
  async () => {
    const root = await added(store, newKey({ workspace: freshWorkspace() }))
    await directly(
      `INSERT INTO api_keys (key_id, hash, workspace, actor, name, role, permissions, preview_only, allowed_sources, created_by, parent)
     SELECT ${idInLine('at')}, sha256(('tree' || at || $1::uuid)::bytea), workspace, actor, 'x', role, permissions, false, '{}', actor,
       CASE WHEN at < 3 THEN key_id ELSE ${idInLine('(at / 3)')} END
     FROM (SELECT * FROM api_keys WHERE key_id = $1::uuid) AS top, generate_series(1, 999) AS at ORDER BY at`,
      [root.keyId],
    )
    expect(await store.add(newKey({ workspace: root.workspace }), eventOf())).toBe('limit')
    expect((await revokedInTime(root)).children).toHaveLength(999)
  },
)
