import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { ClaimKey, ClaimResponse, CompleteRequest } from '#gen/relay/idempotency/v1/idempotency.ts'
import { ownContext } from '#mesh/grpc/call.ts'
import { MemoryClaimStore } from '../../../services/idempotency/store.memory.ts'
import { fakeMesh } from '../../fakes/identity.ts'
import { type Client, type Replica, claimRequest, count, keyOf, leaseMs, mesh, outcomeOf, startReplica } from './replica.ts'

const hours24 = 24 * 3_600_000

describe('the idempotency service', () => {
  let now = 0
  let replica: Replica
  let client: Client
  beforeAll(async () => {
    replica = await startReplica(new MemoryClaimStore({ retentionMs: hours24, clock: () => now }))
    ;({ client } = replica)
  })
  afterAll(() => replica.close())

  const context = () => ownContext()
  const claim = (request = claimRequest()): Promise<ClaimResponse> => client.claim(request, context())
  const complete = (request: Partial<CompleteRequest> & { key: ClaimKey; runId: string }) =>
    client.complete({ token: undefined, response: undefined, ...request }, context())
  const look = (key: ClaimKey) => claim(claimRequest(key, { fingerprint: undefined }))

  test('grants, answers in flight, completes, and answers with the run and the stored response', async () => {
    const request = claimRequest()
    const grant = outcomeOf(await claim(request), 'granted')
    expect(grant).toEqual({ token: grant.token, runId: request.runId, takenOver: false, leaseMs })
    expect(outcomeOf(await claim(claimRequest(request.key)), 'inFlight')).toEqual({ runId: request.runId, retryAfterMs: 1000 })
    const response = Buffer.alloc(262_144, 7)
    await complete({ key: request.key!, runId: grant.runId, token: grant.token, response })
    expect(outcomeOf(await claim(claimRequest(request.key)), 'completed')).toEqual({ runId: request.runId, response })
    now += hours24
    expect(outcomeOf(await look(request.key!), 'absent')).toEqual({})
  })

  test('a completion without a response is told from one with an empty response', async () => {
    const [none, empty] = [claimRequest(), claimRequest()]
    for (const [request, response] of [
      [none, undefined],
      [empty, Buffer.alloc(0)],
    ] as const) {
      const { token, runId } = outcomeOf(await claim(request), 'granted')
      await complete({ key: request.key!, runId, token, response })
    }
    expect(outcomeOf(await look(none.key!), 'completed').response).toBeUndefined()
    expect(outcomeOf(await look(empty.key!), 'completed').response).toEqual(Buffer.alloc(0))
  })

  test('says mismatch for other work, and absent to who only looks', async () => {
    const request = claimRequest()
    expect(outcomeOf(await look(request.key!), 'absent')).toEqual({})
    await claim(request)
    const other = await claim(claimRequest(request.key, { fingerprint: Buffer.alloc(32, 2) }))
    expect(outcomeOf(other, 'mismatch')).toEqual({ runId: request.runId })
  })

  test('gives the caller the lease it asks for, and 30 s to who asks for none', async () => {
    expect(outcomeOf(await claim(claimRequest(keyOf(), { leaseMs: 600_000 })), 'granted').leaseMs).toBe(600_000)
    const request = claimRequest(keyOf(), { leaseMs: 1000 })
    const { token } = outcomeOf(await claim(request), 'granted')
    await client.renew({ key: request.key, token, leaseMs: 0 }, context())
    now += leaseMs - 1
    expect((await claim(claimRequest(request.key))).outcome?.$case).toBe('inFlight')
    now += 1
    expect(outcomeOf(await claim(claimRequest(request.key)), 'granted').takenOver).toBe(true)
  })

  test('refuses every write with a token whose grant was taken over', async () => {
    const request = claimRequest(keyOf(), { leaseMs: 1000 })
    const old = outcomeOf(await claim(request), 'granted')
    now += 1000
    const fresh = outcomeOf(await claim(claimRequest(request.key)), 'granted')
    expect(fresh).toMatchObject({ runId: request.runId, takenOver: true })
    const stale = { reason: 'STALE_TOKEN', code: 'FAILED_PRECONDITION', domain: 'idempotency' }
    const { key } = request
    await expect(client.renew({ key, token: old.token, leaseMs: 0 }, context())).rejects.toMatchObject(stale)
    await expect(complete({ key: key!, runId: old.runId, token: old.token })).rejects.toMatchObject(stale)
    await expect(client.release({ key, token: old.token }, context())).rejects.toMatchObject(stale)
    await client.release({ key, token: fresh.token }, context())
    expect((await look(key!)).outcome?.$case).toBe('absent')
  })

  test('ids are the same whatever case they are written in', async () => {
    const request = claimRequest()
    const { token } = outcomeOf(await claim(request), 'granted')
    const again = { ...request, attemptId: request.attemptId.toUpperCase() }
    expect(outcomeOf(await claim(again), 'granted').token).toBe(token)
    await client.renew({ key: request.key, token: token.toUpperCase(), leaseMs: 0 }, context())
    await complete({ key: request.key!, runId: request.runId.toUpperCase() })
    expect(outcomeOf(await look(request.key!), 'completed').runId).toBe(request.runId)
  })

  test('stores a response only for who shows a token', async () => {
    const request = claimRequest()
    await claim(request)
    await expect(complete({ key: request.key!, runId: request.runId, response: Buffer.from('x') })).rejects.toMatchObject({
      reason: 'RESPONSE_NEEDS_TOKEN',
      code: 'INVALID_ARGUMENT',
    })
    expect((await look(request.key!)).outcome?.$case).toBe('inFlight')
  })

  test.each([
    ['no key', { key: undefined }, 'key'],
    ['an empty key', { key: keyOf('') }, 'key.key'],
    ['a key of 256 characters', { key: keyOf('k'.repeat(256)) }, 'key.key'],
    ['a key with U+0000', { key: keyOf('a\0b') }, 'key.key'],
    ['a workspace with U+0000', { key: { ...keyOf(), workspace: '\0' } }, 'key.workspace'],
    ['a kind that is no word', { key: { ...keyOf(), keyKind: 'Client' } }, 'key.key_kind'],
    ['a fingerprint of 15 bytes', { fingerprint: Buffer.alloc(15) }, 'fingerprint'],
    ['an attempt that is no UUID', { attemptId: 'first' }, 'attempt_id'],
    ['a lease of more than ten minutes', { leaseMs: 600_001 }, 'lease_ms'],
  ])('refuses %s, and names the field', async (_, over, field) => {
    const refused = claim({ ...claimRequest(), ...over })
    await expect(refused).rejects.toMatchObject({ reason: 'INVALID_REQUEST', code: 'INVALID_ARGUMENT', violations: [{ field }] })
  })

  test('serves services of the mesh and nobody else: not a caller with every permission, not a forged name', async () => {
    const request = claimRequest()
    const refused = { code: 'UNAUTHENTICATED', reason: 'UNAUTHENTICATED' }
    const outside = replica.clientAs()
    const callerToken = mesh.callerToken()
    await expect(outside.claim(request, { ...context(), callerToken })).rejects.toMatchObject(refused)
    await expect(outside.claim(request, context())).rejects.toMatchObject(refused)
    const forged = replica.clientAs(fakeMesh().peerToken('actions'))
    await expect(forged.claim(request, context())).rejects.toMatchObject(refused)
    const { key } = request
    await expect(outside.release({ key, token: randomUUID() }, { ...context(), callerToken })).rejects.toMatchObject(refused)
    expect((await look(request.key!)).outcome?.$case).toBe('absent')
  })

  describe('what it counts', () => {
    const metric = (name: string) => replica.metrics.registry.getSingleMetricAsString(name)
    beforeEach(() => replica.metrics.registry.resetMetrics())

    test('claims by what was answered, and refused writes by what they were', async () => {
      const request = claimRequest(keyOf(), { leaseMs: 1000 })
      const { token } = outcomeOf(await claim(request), 'granted')
      await claim(claimRequest(request.key))
      now += 1000
      await claim(claimRequest(request.key))
      await expect(client.renew({ key: request.key, token, leaseMs: 0 }, context())).rejects.toThrow('no longer holds the grant')
      const claims = await metric('idempotency_claims_total')
      for (const outcome of ['granted', 'in_flight', 'taken_over']) expect(claims).toMatch(new RegExp(`outcome="${outcome}",[^}]*\\} 1\n?`))
      expect(await metric('idempotency_fenced_total')).toMatch(/operation="renew",[^}]*\} 1/)
    })
  })

  test('of 100 claims at once on one key one is granted', async () => {
    const key = keyOf()
    expect(count(await Promise.all(Array.from({ length: 100 }, () => claim(claimRequest(key)))))).toEqual({ granted: 1, inFlight: 99 })
  })
})
