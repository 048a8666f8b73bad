import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type CreateKeyRequest, KeysServiceService } from '#gen/relay/access/v1/keys.ts'
import { parseApiKey } from '#mesh/api-key.ts'
import { type Context, ownContext } from '#mesh/grpc/call.ts'
import { Channel, type Methods, methodsOf } from '#mesh/grpc/client.ts'
import { Health } from '#mesh/grpc/health.ts'
import { GrpcServer } from '#mesh/grpc/server.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { type NewKey, keyHash } from '../../../../services/access/keys/key.ts'
import { Keys } from '../../../../services/access/keys/keys.ts'
import { type Role, roles } from '../../../../services/access/keys/roles.ts'
import { keysService } from '../../../../services/access/keys/service.ts'
import { postgresKeyStore } from '../../../../services/access/keys/store.postgres.ts'
import { instruments } from '../../../../services/access/metrics.ts'
import { added, newKey } from '../../../contracts/key-requests.ts'
import { fakeMesh } from '../../../fakes/identity.ts'
import { type AccessDatabase, accessDatabase } from './database.ts'

const pepper = 'a pepper of this test, long enough'
const mesh = fakeMesh()

/** The keys that callers show: rows of the store, made before the first test. */
const callers = (['admin', 'developer', 'operator', 'viewer'] as const).flatMap((role) =>
  ['acme', 'elsewhere', 'audited', 'paged'].flatMap((workspace) =>
    ['ann', 'bob'].map((actor) => ({
      ...newKey(),
      name: 'of a caller',
      role,
      workspace,
      actor,
      permissions: roles[role],
      allowedSources: [],
    })),
  ),
)

/** A caller in the middle of an outside request. */
const as = (role: Role, actor = 'ann', workspace = 'acme'): Context => {
  const { keyId, permissions } = callers.find((each) => each.role === role && each.actor === actor && each.workspace === workspace)!
  return { ...ownContext(), callerToken: mesh.callerToken({ workspace, actor, keyId, permissions }) }
}

const wanted = (over: Partial<CreateKeyRequest> = {}): CreateKeyRequest => ({
  name: 'laptop',
  role: 'operator',
  scopes: [],
  previewOnly: false,
  allowedSources: [],
  ...over,
})

const refusal = (reason: string, code: string) => expect.objectContaining({ reason, code }) as Error
const invalid = (...fields: string[]) => {
  const violations = fields.map((field) => expect.objectContaining({ field }) as object)
  return expect.objectContaining({ reason: 'INVALID_REQUEST', violations }) as Error
}

describe('the keys service', () => {
  let access: AccessDatabase
  let server: GrpcServer
  let channel: Channel
  let client: Methods<typeof KeysServiceService>
  let logged = ''
  beforeAll(async () => {
    access = await accessDatabase()
    for (const caller of callers) await added(postgresKeyStore(access.database), caller)
    const log = createLogger('access', 'trace', { write: (line: string) => void (logged += line) })
    const metrics = new Metrics('access')
    const keys = new Keys({ store: postgresKeyStore(access.database), env: 'test', hash: keyHash(pepper) })
    server = new GrpcServer({
      services: [keysService({ keys, instruments: instruments(metrics) })],
      verifier: mesh.verifierFor('access'),
      health: new Health({ services: ['relay.access.v1.KeysService'] }),
      log,
      metrics,
    })
    channel = new Channel({ address: `127.0.0.1:${await server.listen({ host: '127.0.0.1', port: 0 })}` })
    client = methodsOf(KeysServiceService, channel)
  })
  afterAll(async () => {
    channel.close()
    await server.drain(1000)
    await access.close()
  })

  const create = async (over: Partial<CreateKeyRequest> = {}, by = as('admin')) => client.createKey(wanted(over), by)
  const created = async (over: Partial<CreateKeyRequest> = {}, by = as('admin')) => (await create(over, by)).key!
  const events = async () => (await access.events()).toSorted((one, other) => one.occurredAt.localeCompare(other.occurredAt))

  test('makes a key of this environment, shows it once, and says what it may do', async () => {
    const context = as('admin')
    const limits = { scopes: ['actions:read', 'keys:read'], allowedSources: ['192.0.2.0/24', '2001:DB8::1'], expiresIn: 3600 }
    const { apiKey, key, requestId } = await create({ role: 'developer', actor: 'bob', ...limits }, context)
    expect(parseApiKey(apiKey)).toEqual({ env: 'test' })
    expect(requestId).toBe(context.requestId)
    expect(key).toMatchObject({
      name: 'laptop',
      actor: 'bob',
      role: 'developer',
      permissions: ['actions:read', 'keys:read'],
      allowedSources: ['192.0.2.0/24', '2001:db8::1/128'],
      previewOnly: false,
      status: 'active',
      createdBy: 'ann',
    })
    const { createdAt, expiresAt } = key!
    expect(Math.round((Date.parse(expiresAt!) - Date.parse(createdAt)) / 1000)).toBe(3600)
    const { keys } = await client.listKeys({ pageSize: 200, pageToken: '' }, as('admin'))
    expect(keys).toContainEqual(key)
    expect(JSON.stringify(keys)).not.toContain(apiKey)
  })

  test('keeps no key: neither in a column nor in a line of the log', async () => {
    const { apiKey, key } = await create()
    const rotated = await client.rotateKey({ keyId: key!.keyId }, as('admin'))
    await client.revokeKey({ keyId: rotated.key!.keyId, keepChildren: false }, as('admin'))
    const tables = await Promise.all((['api_keys', 'audit_outbox', 'revocations'] as const).map((table) => access.rows(table)))
    const kept = [...tables.flat(), logged].join('\n')
    expect(kept).toContain(key!.keyId)
    for (const each of [apiKey, rotated.apiKey]) {
      const secret = each.split('_')[2]!
      expect(kept).not.toContain(secret)
      expect(kept).not.toContain(Buffer.from(each).toString('hex'))
      expect(kept).not.toContain(Buffer.from(secret).toString('base64').slice(0, 40))
    }
    // Found only with the pepper.
    const store = postgresKeyStore(access.database)
    expect((await store.findByHash(keyHash(pepper)(apiKey)))!.keyId).toBe(key!.keyId)
    expect(await store.findByHash(keyHash('another pepper')(apiKey))).toBeUndefined()
  })

  test('tells the audit log who did what to which key, in no words that a person wrote', async () => {
    const context = { ...as('admin', 'ann', 'audited'), source: '192.0.2.9' }
    const before = (await events()).length
    const { keyId } = await created({ name: 'ZEBRA', actor: 'GIRAFFE' }, context)
    const { key: fresh } = await client.rotateKey({ keyId, overlap: 60 }, context)
    await client.revokeKey({ keyId, keepChildren: false }, context)
    await client.revokeKey({ keyId, keepChildren: false }, context)
    const told = (await events()).slice(before)
    const common = {
      workspace: 'audited',
      service: 'access',
      outcome: 'success',
      actor: 'ann',
      keyId: callers.find(({ workspace, actor, role }) => workspace === 'audited' && actor === 'ann' && role === 'admin')!.keyId,
      requestId: context.requestId,
      traceId: expect.stringMatching(/^[0-9a-f]{32}$/),
      count: 1,
    }
    expect(told).toEqual([
      expect.objectContaining({ ...common, action: 'keys.create', targets: [`key:${keyId}`] }),
      expect.objectContaining({ ...common, action: 'keys.rotate', targets: [`key:${keyId}`, `key:${fresh!.keyId}`] }),
      expect.objectContaining({ ...common, action: 'keys.revoke', targets: [`key:${keyId}`] }),
    ])
    // Nobody but a peer is believed when it names a source, or a trace.
    expect(told.map(({ source }) => source)).toEqual(['127.0.0.1', '127.0.0.1', '127.0.0.1'])
    expect(told.map(({ traceId }) => traceId)).not.toContain(context.trace.traceId)
    expect(JSON.stringify(told)).not.toMatch(/ZEBRA|GIRAFFE/)
  })

  test('makes no key that can do more than its maker', async () => {
    for (const scopes of [[], ['actions:read', 'audit:read'], ['keys:admin']]) {
      await expect(create({ role: 'admin', scopes }, as('developer'))).rejects.toThrow(refusal('SCOPE_TOO_WIDE', 'PERMISSION_DENIED'))
    }
    // The name of a role gives nothing.
    expect((await created({ role: 'admin', scopes: ['actions:read'] }, as('developer'))).permissions).toEqual(['actions:read'])
    const narrow = await narrowly({ permissions: ['keys:write', 'actions:read', 'connections:read'] })
    await expect(create({ role: 'operator' }, narrow)).rejects.toThrow(refusal('SCOPE_TOO_WIDE', 'PERMISSION_DENIED'))
    expect((await created({ role: 'viewer' }, narrow)).permissions).toEqual(['actions:read', 'connections:read'])
  })

  /** A caller with a key as narrow as that. */
  const narrowly = async (over: Partial<NewKey>): Promise<Context> => {
    const key = newKey({ workspace: 'acme', actor: 'ann', role: 'developer', permissions: roles.developer, allowedSources: [], ...over })
    const { workspace, actor, keyId, permissions } = await added(postgresKeyStore(access.database), key)
    return { ...ownContext(), callerToken: mesh.callerToken({ workspace, actor, keyId, permissions: [...permissions] }) }
  }
  const tooWide = (field: string) =>
    expect.objectContaining({ reason: 'KEY_TOO_WIDE', code: 'PERMISSION_DENIED', metadata: { field } }) as Error

  test('makes no key that outlives its maker or is used from elsewhere; what is left open it has from its maker', async () => {
    const by = await narrowly({ lifetimeMs: 30_000, allowedSources: ['127.0.0.1/32', '2001:db8::/32'] })
    await expect(create({ expiresIn: 3600 }, by)).rejects.toThrow(tooWide('expires_in'))
    for (const source of ['0.0.0.0/0', '127.0.0.0/8', '::/0', '2001:db9::1']) {
      await expect(create({ allowedSources: ['127.0.0.1', source] }, by), source).rejects.toThrow(tooWide('allowed_sources'))
    }
    const child = await created({}, by)
    const { keys } = await client.listKeys({ pageSize: 200, pageToken: '' }, by)
    const parent = keys.find(({ keyId }) => keyId === child.parent)!
    expect(child).toMatchObject({ expiresAt: parent.expiresAt, allowedSources: parent.allowedSources })
    const narrower = await created({ allowedSources: ['2001:db8:1::/48'], expiresIn: 1 }, by)
    expect(narrower).toMatchObject({ parent: parent.keyId, allowedSources: ['2001:db8:1::/48'] })
  })

  test('rotates no key that reaches beyond the one that asks, and lets no successor outlive it', async () => {
    const narrow: [string, Partial<NewKey>][] = [
      ['expires_in', { lifetimeMs: 30_000 }],
      ['allowed_sources', { allowedSources: ['127.0.0.1/32'] }],
    ]
    for (const [field, over] of narrow) {
      const by = await narrowly(over)
      const wide = await created({ role: 'operator' })
      await expect(client.rotateKey({ keyId: wide.keyId }, by), field).rejects.toThrow(tooWide(field))
      const own = await created({ role: 'operator' }, by)
      // A key renews itself, and what it made, within its own time: else it would never end.
      const { key } = await client.rotateKey({ keyId: own.keyId }, by)
      expect(key).toMatchObject({ allowedSources: own.allowedSources, parent: own.parent, replaces: own.keyId })
      expect(key!.expiresAt).toBe(own.expiresAt)
    }
  })

  test('revokes what a key made, and what that made, unless they are to be kept', async () => {
    for (const keepChildren of [false, true]) {
      const by = await narrowly({})
      const child = await created({ role: 'developer' }, by)
      const token = mesh.callerToken({ workspace: 'acme', actor: 'ann', keyId: child.keyId, permissions: roles.developer })
      const grandchild = await created({}, { ...ownContext(), callerToken: token })
      const { key, revokedChildren } = await client.revokeKey({ keyId: child.parent!, keepChildren }, as('developer'))
      const family = [child.keyId, grandchild.keyId]
      expect(key!.status).toBe('revoked')
      expect(revokedChildren.toSorted()).toEqual(keepChildren ? [] : family.toSorted())
      const { keys } = await client.listKeys({ pageSize: 200, pageToken: '' }, as('admin'))
      const statuses = keys.filter(({ keyId }) => family.includes(keyId)).map(({ status }) => status)
      expect(statuses).toEqual(keepChildren ? ['active', 'active'] : ['revoked', 'revoked'])
      const told = (await events()).filter(({ action }) => action === 'keys.revoke').map(({ targets }) => targets[0])
      for (const id of family) expect(told.includes(`key:${id}`)).toBe(!keepChildren)
    }
  })

  test('takes nothing from a key that was revoked while its token is still believed', async () => {
    const by = await narrowly({})
    const child = await created({}, by)
    await client.revokeKey({ keyId: child.parent!, keepChildren: true }, as('admin'))
    const ended = refusal('CALLING_KEY_ENDED', 'UNAUTHENTICATED')
    await expect(create({}, by)).rejects.toThrow(ended)
    await expect(client.rotateKey({ keyId: child.keyId }, by)).rejects.toThrow(ended)
  })

  test('leaves the keys of other actors to who may administer keys', async () => {
    const by = await narrowly({ role: 'admin', permissions: roles.admin })
    const ofBob = await created({ actor: 'bob' }, by)
    const revoking = { keyId: ofBob.parent!, keepChildren: false }
    await expect(client.revokeKey(revoking, as('developer'))).rejects.toThrow(refusal('CHILDREN_NOT_YOURS', 'PERMISSION_DENIED'))
    expect((await client.revokeKey(revoking, as('admin'))).revokedChildren).toEqual([ofBob.keyId])
  })

  test('makes keys for another actor only for who may administer keys', async () => {
    await expect(create({ actor: 'bob' }, as('developer'))).rejects.toThrow(refusal('ACTOR_NOT_YOURS', 'PERMISSION_DENIED'))
    expect((await created({ actor: 'ann' }, as('developer'))).actor).toBe('ann')
    expect((await created({}, as('developer'))).actor).toBe('ann')
    expect((await created({ actor: 'bob' })).actor).toBe('bob')
  })

  test('narrows a key to reading and previewing', async () => {
    const key = await created({ role: 'admin', previewOnly: true })
    expect(key).toMatchObject({ previewOnly: true, permissions: ['actions:read', 'actions:preview'] })
    await expect(create({ role: 'admin', previewOnly: true, scopes: ['keys:read'] })).rejects.toThrow(invalid('scopes'))
  })

  test('names everything that is wrong with a request, by field', async () => {
    const [scopes, allowedSources] = [
      ['actions:read', 'keys:write'],
      ['192.0.2.1', 'here', '10.0.0.1/8'],
    ]
    const refused = create({ name: 'a\0b', actor: 'c\nd', role: 'viewer', scopes, allowedSources })
    await expect(refused).rejects.toThrow(invalid('name', 'actor', 'allowed_sources.1', 'allowed_sources.2', 'scopes.1'))
    await expect(create({ role: 'root' })).rejects.toThrow(refusal('INVALID_REQUEST', 'INVALID_ARGUMENT'))
  })

  test.each(['viewer', 'operator'] as const)('lets a %s neither see nor change keys', async (role) => {
    const { keyId } = await created({ actor: 'ann' })
    const denied = refusal('PERMISSION_DENIED', 'PERMISSION_DENIED')
    await expect(create({ role: 'viewer' }, as(role))).rejects.toThrow(denied)
    await expect(client.listKeys({ pageSize: 0, pageToken: '' }, as(role))).rejects.toThrow(denied)
    await expect(client.rotateKey({ keyId }, as(role))).rejects.toThrow(denied)
    await expect(client.revokeKey({ keyId, keepChildren: false }, as(role))).rejects.toThrow(denied)
  })

  test('knows no key of another workspace, nor, without keys:admin, of another actor', async () => {
    const { keyId } = await created({ role: 'viewer' })
    const missing = refusal('KEY_NOT_FOUND', 'NOT_FOUND')
    for (const by of [as('admin', 'ann', 'elsewhere'), as('developer', 'bob')]) {
      await expect(client.rotateKey({ keyId }, by)).rejects.toThrow(missing)
      await expect(client.revokeKey({ keyId, keepChildren: false }, by)).rejects.toThrow(missing)
      const { keys } = await client.listKeys({ pageSize: 200, pageToken: '' }, by)
      expect(keys.map((each) => each.keyId)).not.toContain(keyId)
    }
    await expect(client.revokeKey({ keyId: randomUUID(), keepChildren: false }, as('admin'))).rejects.toThrow(missing)
    expect((await client.revokeKey({ keyId, keepChildren: false }, as('developer'))).key!.status).toBe('revoked')
  })

  test('hands out no successor that can do more than who asks for it', async () => {
    const { keyId } = await created({ role: 'admin' })
    await expect(client.rotateKey({ keyId }, as('developer'))).rejects.toThrow(refusal('SCOPE_TOO_WIDE', 'PERMISSION_DENIED'))
    expect((await client.rotateKey({ keyId }, as('admin'))).key!.role).toBe('admin')
    // To end it, one need not be able to do what it can.
    expect((await client.revokeKey({ keyId, keepChildren: false }, as('developer'))).key!.status).toBe('revoked')
  })

  test('rotates with an overlap of a day unless told otherwise; what has ended has no successor', async () => {
    const { keyId } = await created()
    const { key, previous, apiKey } = await client.rotateKey({ keyId }, as('admin'))
    expect(parseApiKey(apiKey)).toEqual({ env: 'test' })
    expect(key).toMatchObject({ replaces: keyId, status: 'active', createdBy: 'ann' })
    expect(Math.round((Date.parse(previous!.expiresAt!) - Date.parse(key!.createdAt)) / 1000)).toBe(86_400)
    expect((await client.rotateKey({ keyId: key!.keyId, overlap: 0 }, as('admin'))).previous!.status).toBe('expired')
    await client.revokeKey({ keyId, keepChildren: false }, as('admin'))
    for (const ended of [keyId, key!.keyId]) {
      await expect(client.rotateKey({ keyId: ended }, as('admin'))).rejects.toThrow(refusal('KEY_ENDED', 'FAILED_PRECONDITION'))
    }
  })

  test('pages through the keys that one may see', async () => {
    const [admin, developer] = [as('admin', 'ann', 'paged'), as('developer', 'bob', 'paged')]
    const made: string[] = []
    for (let index = 0; index < 5; index += 1) made.push((await created({ actor: index < 3 ? 'bob' : 'ann' }, admin)).keyId)
    const all = async (by: Context) => {
      const seen: string[] = []
      for (let pageToken = ''; ;) {
        const page = await client.listKeys({ pageSize: 2, pageToken }, by)
        seen.push(...page.keys.filter(({ name }) => name === 'laptop').map(({ keyId }) => keyId))
        pageToken = page.nextPageToken
        if (pageToken === '') return seen
      }
    }
    expect(await all(admin)).toEqual(made.toReversed())
    expect(await all(developer)).toEqual(made.slice(0, 3).toReversed())
  })

  test('takes no page token but its own', async () => {
    const times = ['-1', '99999999999999999', '1e9', "' OR 1=1", '']
    for (const text of ['x', '1 2', `1 ${'-'.repeat(36)}`, ...times.map((time) => `${time} ${randomUUID()}`)]) {
      const pageToken = Buffer.from(text).toString('base64url')
      await expect(client.listKeys({ pageSize: 0, pageToken }, as('admin')), text).rejects.toThrow(invalid('page_token'))
    }
    const extreme = Buffer.from(`9999999999999999 ${randomUUID()}`).toString('base64url')
    await expect(client.listKeys({ pageSize: 1, pageToken: extreme }, as('admin'))).resolves.toBeDefined()
  })
})
