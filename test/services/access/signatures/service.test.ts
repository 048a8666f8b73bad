import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { SignaturesServiceService } from '#gen/relay/access/v1/signatures.ts'
import { type Context, ownContext } from '#mesh/grpc/call.ts'
import { Channel, type Methods, methodsOf } from '#mesh/grpc/client.ts'
import { Health } from '#mesh/grpc/health.ts'
import { GrpcServer } from '#mesh/grpc/server.ts'
import { SignatureKeys, webhookSecretOf } from '#mesh/signature-keys.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { type Role, roles } from '../../../../services/access/keys/roles.ts'
import { signaturesService } from '../../../../services/access/signatures/service.ts'
import { Signatures } from '../../../../services/access/signatures/signatures.ts'
import { signatureStore } from '../../../../services/access/signatures/store.postgres.ts'
import { fakeMesh } from '../../../fakes/identity.ts'
import { type AccessDatabase, accessDatabase } from '../keys/database.ts'

const mesh = fakeMesh()
const keys = new SignatureKeys({ root: 'the root of these tests', legacy: 'the secret from before, of these tests' })
const as = (role: Role, workspace: string): Context => ({
  ...ownContext(),
  callerToken: mesh.callerToken({ workspace, actor: 'ann', keyId: 'key-of-ann', permissions: roles[role] }),
})
const refusal = (reason: string, code: string) => expect.objectContaining({ reason, code }) as Error

describe('signature keys', () => {
  let access: AccessDatabase
  let logged = ''
  let client: Methods<typeof SignaturesServiceService>
  let rootless: Methods<typeof SignaturesServiceService>
  const stops: (() => unknown)[] = []
  beforeAll(async () => {
    access = await accessDatabase()
    const store = signatureStore(access.database)
    const serve = async (with_: SignatureKeys) => {
      const log = createLogger('access', 'trace', { write: (line: string) => void (logged += line) })
      const server = new GrpcServer({
        services: [signaturesService({ signatures: new Signatures({ store, keys: with_ }) })],
        verifier: mesh.verifierFor('access'),
        health: new Health({ services: ['relay.access.v1.SignaturesService'] }),
        log,
        metrics: new Metrics('access'),
      })
      const channel = new Channel({ address: `127.0.0.1:${await server.listen({ host: '127.0.0.1', port: 0 })}` })
      stops.push(
        () => channel.close(),
        () => server.drain(1000),
      )
      return methodsOf(SignaturesServiceService, channel)
    }
    client = await serve(keys)
    rootless = await serve(new SignatureKeys({ root: undefined, legacy: 'the secret from before, of these tests' }))
  })
  afterAll(async () => {
    for (const stop of stops) await stop()
    await access.close()
  })
  const outbound = { purpose: 'outbound' }
  const secret = (workspace: string, generation: number, purpose: 'outbound' | 'inbound' = 'outbound') =>
    webhookSecretOf(keys.key(purpose, workspace, generation)!)

  test('of default, whose receivers have the key from before, begin in an overlap with it; it is never shown', async () => {
    const by = as('admin', 'default')
    const both = ['outbound', 'inbound'].map((purpose) => ({ purpose, generation: 1, previousGeneration: 0 }))
    expect((await client.listSignatureKeys({}, by)).keys).toEqual(both)
    const shown = await client.revealSignatureKey(outbound, by)
    expect(shown).toMatchObject({ secret: secret('default', 1), previousSecret: undefined, key: { previousGeneration: 0 } })
  })

  test('of a workspace that is new have no older key, and are replaced with an overlap that an admin ends', async () => {
    const by = as('admin', 'fresh')
    expect(await client.revealSignatureKey(outbound, by)).toMatchObject({ secret: secret('fresh', 1), key: { generation: 1 } })
    expect((await client.replaceSignatureKey(outbound, by)).key).toEqual({ ...outbound, generation: 2, previousGeneration: 1 })
    expect(await client.revealSignatureKey(outbound, by)).toMatchObject({ secret: secret('fresh', 2), previousSecret: secret('fresh', 1) })
    await expect(client.replaceSignatureKey(outbound, by)).rejects.toThrow(refusal('OVERLAP_OPEN', 'FAILED_PRECONDITION'))
    for (let count = 0; count < 2; count += 1) {
      expect((await client.endSignatureOverlap(outbound, by)).key).toEqual({ ...outbound, generation: 2, previousGeneration: undefined })
    }
    expect(await client.revealSignatureKey(outbound, by)).toMatchObject({ secret: secret('fresh', 2), previousSecret: undefined })
    // Each purpose is its own, and so is each workspace.
    expect((await client.listSignatureKeys({}, by)).keys[1]).toEqual({ purpose: 'inbound', generation: 1, previousGeneration: undefined })
    const inbound = await client.revealSignatureKey({ purpose: 'inbound' }, by)
    expect(inbound.secret).toBe(secret('fresh', 1, 'inbound'))
    expect((await client.listSignatureKeys({}, as('admin', 'neighbour'))).keys[0]!.generation).toBe(1)
  })

  test('of many who replace one at once one does', async () => {
    const by = as('admin', 'crowded')
    const responses = await Promise.allSettled(Array.from({ length: 10 }, () => client.replaceSignatureKey(outbound, by)))
    expect(responses.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    expect((await client.listSignatureKeys({}, by)).keys[0]!.generation).toBe(2)
  })

  test('leave who saw and changed them in the audit log, and themselves neither there nor in any line', async () => {
    const context = as('admin', 'audited')
    const { secret: shown } = await client.revealSignatureKey(outbound, context)
    await client.replaceSignatureKey(outbound, context)
    await client.endSignatureOverlap(outbound, context)
    await client.endSignatureOverlap(outbound, context)
    const told = (await access.events()).filter(({ workspace }) => workspace === 'audited')
    const common = { actor: 'ann', keyId: 'key-of-ann', outcome: 'success', service: 'access', requestId: context.requestId }
    expect(told).toHaveLength(3)
    expect(told).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ ...common, action: 'signature_keys.reveal', targets: ['signature_key:outbound.1'] }),
        expect.objectContaining({ ...common, action: 'signature_keys.replace', targets: ['signature_key:outbound.2'] }),
        expect.objectContaining({ ...common, action: 'signature_keys.end_overlap', targets: ['signature_key:outbound.2'] }),
      ]),
    )
    const kept = logged + (await access.rows('audit_outbox')).join('\n')
    const base64 = shown.replace('whsec_', '')
    for (const text of [base64, Buffer.from(base64, 'base64').toString('hex')]) expect(kept).not.toContain(text)
  })

  test.each(['viewer', 'operator', 'developer'] as const)('are nothing that a %s may see or change', async (role) => {
    const by = as(role, 'default')
    const denied = refusal('PERMISSION_DENIED', 'PERMISSION_DENIED')
    await expect(client.listSignatureKeys({}, by)).rejects.toThrow(denied)
    for (const method of [client.revealSignatureKey, client.replaceSignatureKey, client.endSignatureOverlap]) {
      await expect(method(outbound, by)).rejects.toThrow(denied)
    }
  })

  test('cannot be shown or changed where there is no root, and of no other purpose', async () => {
    const by = as('admin', 'default')
    for (const name of ['revealSignatureKey', 'replaceSignatureKey', 'endSignatureOverlap'] as const) {
      await expect(rootless[name](outbound, by)).rejects.toThrow(refusal('SIGNATURE_ROOT_MISSING', 'FAILED_PRECONDITION'))
      await expect(client[name]({ purpose: 'both' }, by)).rejects.toThrow(refusal('INVALID_REQUEST', 'INVALID_ARGUMENT'))
    }
  })

  test('reach followers in order, once, page by page', async () => {
    const store = signatureStore(access.database)
    const { sequence: start } = await store.changedAfter(0)
    const event = (await access.events())[0]!
    const changing = Array.from({ length: 60 }, (_, index) =>
      store.change(
        `w${index}`,
        'inbound',
        () => ({ generation: 2, previous: 1 }),
        () => ({ ...event, eventId: crypto.randomUUID() }),
      ),
    )
    const seen: string[] = []
    let sequence = start
    const follow = async () => {
      const news = await store.changedAfter(sequence)
      seen.push(...news.states.map(({ workspace }) => workspace))
      sequence = news.sequence
    }
    let done = false
    const all = Promise.all(changing).then(() => (done = true))
    while (!done) await follow()
    await all
    await follow()
    expect(seen.toSorted()).toEqual(Array.from({ length: 60 }, (_, index) => `w${index}`).toSorted())
    // A follower that is ahead of the store is told everything, and where the store is.
    expect(await store.changedAfter(sequence + 1000)).toEqual(await store.changedAfter(0))
  })

  test('of more workspaces than one answer holds come in several', async () => {
    await access.database.pool.query(
      `INSERT INTO signature_keys (workspace, purpose, generation, sequence)
       SELECT 'many ' || n, 'outbound', 1, n + (SELECT max(sequence) FROM signature_keys) FROM generate_series(1, 4500) AS n`,
    )
    const store = signatureStore(access.database)
    const names = new Set<string>()
    let [after, more, pages] = [0, true, 0]
    for (; more; pages += 1) {
      const news = await store.changedAfter(after)
      for (const { workspace } of news.states) if (workspace.startsWith('many')) names.add(workspace)
      ;({ sequence: after, more } = news)
    }
    expect(names.size).toBe(4500)
    expect(pages).toBe(3)
  })
})
