import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Database } from '#mesh/postgres/database.ts'
import { grantRights } from '../../../services/access/grants.ts'
import { postgresKeyStore } from '../../../services/access/keys/store.postgres.ts'
import { added, dayMs, eventOf, given, newKey, revokeIn, rotationOf } from '../../contracts/key-requests.ts'
import { sharedPostgres } from '../../setup/database.ts'
import { openDatabase } from './keys/database.ts'
import { type OwnedDatabase, ownedDatabase } from './owned-database.ts'

describe('the rights of access in its database', () => {
  let owned: OwnedDatabase<'service' | 'retention' | 'stranger'>
  let owner: Database, service: Database, retention: Database, stranger: Database
  const all = () => [owner, service, retention, stranger]
  beforeAll(async () => {
    owned = await ownedDatabase('service', 'retention', 'stranger')
    owner = openDatabase(owned.urls.owner)
    service = openDatabase(owned.urls.service)
    retention = openDatabase(owned.urls.retention)
    stranger = openDatabase(owned.urls.stranger)
  })
  afterAll(async () => {
    await Promise.all(all().map((database) => database.close()))
    await owned.drop()
  })

  /** Every table and what its role may do with it. */
  const rightsOf = async (database: Database): Promise<Record<string, string>> => {
    const { rows } = await database.pool.query<{ table: string; rights: string }>(
      `SELECT relname AS table, string_agg(right_name, ' ' ORDER BY right_name) AS rights
       FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS right_name
       WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND has_table_privilege(current_user, pg_class.oid, right_name)
       GROUP BY relname`,
    )
    return Object.fromEntries(rows.map(({ table, rights }) => [table, rights]))
  }
  const ofService = {
    api_keys: 'INSERT SELECT UPDATE',
    revocations: 'INSERT SELECT',
    signing_keys: 'DELETE INSERT SELECT',
    signature_keys: 'INSERT SELECT UPDATE',
    audit_outbox: 'DELETE INSERT SELECT UPDATE',
    audit_events: 'INSERT SELECT',
    audit_checkpoints: 'SELECT',
  }
  const ofRetention = { audit_events: 'DELETE SELECT', audit_checkpoints: 'INSERT SELECT' }

  test('are none before they are granted, then these and no others, however often and by however many', async () => {
    expect(await rightsOf(service)).toEqual({})
    await owner.pool.query(`GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC`)
    const stands = await Promise.all(Array.from({ length: 5 }, () => grantRights({ owner, service, retention })))
    expect(new Set(stands)).toEqual(new Set(['restricted']))
    expect(await rightsOf(service)).toEqual(ofService)
    expect(await rightsOf(retention)).toEqual(ofRetention)
    expect(await rightsOf(stranger)).toEqual({})
  })

  test('take back what a role had beyond them', async () => {
    await owner.pool.query(`GRANT ALL ON audit_events, revocations, migrations TO ${new URL(owned.urls.service).username}`)
    expect(await rightsOf(service)).toMatchObject({ audit_events: expect.stringContaining('TRUNCATE') })
    await grantRights({ owner, service, retention })
    expect(await rightsOf(service)).toEqual(ofService)
  })

  test('are enough for everything that is done with keys', async () => {
    await grantRights({ owner, service, retention })
    const store = postgresKeyStore(service)
    const first = newKey()
    const key = await added(store, first)
    const { fresh } = given(await store.rotate(rotationOf(key), eventOf()))
    expect(await store.prune(dayMs)).toBe(0)
    await store.noteUsed(new Map([[key.keyId, new Date()]]))
    await revokeIn(store, fresh, eventOf())
    expect((await store.list({ workspace: key.workspace, limit: 10 })).keys).toHaveLength(2)
    expect((await store.findByHash(first.hash))!.lastUsedAt).toBeDefined()
    expect((await store.revocationsAfter(0, dayMs)).revocations).toHaveLength(2)
  })

  test.each([
    'DELETE FROM api_keys',
    'TRUNCATE api_keys CASCADE',
    'DELETE FROM revocations',
    "UPDATE revocations SET not_after = clock_timestamp() + interval '1 year'",
    "UPDATE audit_events SET actor = 'nobody'",
    'DELETE FROM audit_events',
    'TRUNCATE audit_events',
    'INSERT INTO audit_checkpoints SELECT * FROM audit_checkpoints',
    'UPDATE signing_keys SET sealed = sealed',
    'DROP TABLE audit_events',
    'ALTER TABLE audit_events DISABLE TRIGGER ALL',
    'SELECT * FROM migrations',
  ])('do not let the service say %s', async (statement) => {
    await grantRights({ owner, service, retention })
    await expect(service.pool.query(statement)).rejects.toMatchObject({ code: '42501' })
  })

  test.each([
    'SELECT hash FROM api_keys',
    'SELECT sealed FROM signing_keys',
    "UPDATE audit_events SET actor = 'nobody'",
    'DELETE FROM audit_checkpoints',
  ])('do not let whoever shortens the audit log say %s', async (statement) => {
    await grantRights({ owner, service, retention })
    await expect(retention.pool.query(statement)).rejects.toMatchObject({ code: '42501' })
  })

  test('say so where they bind nobody: the service owns its tables, may become their owner, or is a superuser', async () => {
    expect(await grantRights({ owner, service: owner })).toBe('unrestricted')
    expect(await rightsOf(owner)).toMatchObject({ api_keys: expect.stringContaining('DELETE') })
    const url = new URL(await sharedPostgres())
    url.pathname = new URL(owned.urls.owner).pathname
    const mighty = openDatabase(url.href)
    const [ownerRole, strangerRole] = [owned.urls.owner, owned.urls.stranger].map((each) => new URL(each).username)
    try {
      expect(await grantRights({ owner: mighty, service: mighty })).toBe('unrestricted')
      await mighty.pool.query(`GRANT ${ownerRole} TO ${strangerRole}`)
      expect(await grantRights({ owner, service: stranger })).toBe('unrestricted')
    } finally {
      await mighty.pool.query(`REVOKE ${ownerRole} FROM ${strangerRole}`)
      await mighty.close()
    }
  })

  test('are refused to a service that would shorten its own audit log', async () => {
    await expect(grantRights({ owner, service, retention: service })).rejects.toThrow('must not be the role of DATABASE_URL')
  })

  test('hold the key store to what it may: a hash cannot be used twice, a revocation cannot be of no key', async () => {
    const ofNoKey = service.pool.query('INSERT INTO revocations (key_id, not_after) VALUES ($1, now())', [randomUUID()])
    await expect(ofNoKey).rejects.toMatchObject({ code: '23503' })
    const hash = randomBytes(32)
    await added(postgresKeyStore(service), newKey({ hash }))
    await expect(added(postgresKeyStore(service), newKey({ hash }))).rejects.toMatchObject({ code: '23505' })
  })
})
