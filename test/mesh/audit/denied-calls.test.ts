/** Which refusals the audit log is told of, and whose they are. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Denial } from '#mesh/audit/denials.ts'
import { errorTable, meshErrors } from '#mesh/errors.ts'
import { type Call, type Context, ownContext } from '#mesh/grpc/call.ts'
import type { PeerToken } from '#mesh/grpc/caller.ts'
import { methodOf } from '#mesh/grpc/descriptors.ts'
import { policy } from '#mesh/grpc/interceptors/policy.ts'
import { type TestClient, type TestServer, connect, mesh, peerToken, requests, startServer, verifier } from '../../fixtures/mesh/server.ts'

const errors = errorTable('test', { SCOPE_TOO_WIDE: { code: 'PERMISSION_DENIED', message: 'No wider than your own.' } })
const reader = mesh.callerToken({ workspace: 'acme', actor: 'ann', keyId: 'key-7', permissions: ['actions:read'] })
const nobody = { workspace: '', actor: '', keyId: '' }
const ann = { workspace: 'acme', actor: 'ann', keyId: 'key-7' }

let server: TestServer
let noted: Denial[]
const clients: TestClient[] = []
beforeAll(async () => {
  server = await startServer({
    denials: { note: (refusal) => void noted.push(refusal) },
    actions: {
      getRun: () => Promise.reject(errors.SCOPE_TOO_WIDE()),
      listRuns: () => Promise.reject(meshErrors.DEPENDENCY_UNAVAILABLE()),
    },
  })
})
afterAll(async () => {
  for (const { channel } of clients) channel.close()
  await server.stop()
})
beforeEach(() => (noted = []))

const connected = (shown: PeerToken | null): TestClient => {
  const client = connect(server.address, shown)
  clients.push(client)
  return client
}
const carrying = (callerToken?: string, more: Partial<Context> = {}): Context => ({ ...ownContext(), callerToken, ...more })
const getRun = { runId: '3a033cc1-0000-4000-8000-000000000001' }

describe('the audit log records', () => {
  test.each<[string, PeerToken | null, (harness: TestClient, context: Context) => Promise<unknown>, string | undefined, Partial<Denial>]>([
    [
      'a caller without the permission, by name and key',
      null,
      ({ actions }, context) => actions.executeAction(requests.execute, context),
      reader,
      { ...ann, action: 'permission.refused', reason: 'PERMISSION_DENIED' },
    ],
    [
      'a caller whom a handler refuses, with its reason',
      null,
      ({ actions }, context) => actions.getRun(getRun, context),
      reader,
      { ...ann, action: 'permission.refused', reason: 'SCOPE_TOO_WIDE' },
    ],
    [
      'a token that is none',
      null,
      ({ actions }, context) => actions.listActions({}, context),
      'forged',
      { ...nobody, action: 'sign_in.refused', reason: 'UNAUTHENTICATED' },
    ],
    [
      'a token that is none and that a peer carries, of which the peer knows nothing',
      peerToken,
      ({ actions }, context) => actions.listActions({}, context),
      'forged',
      { ...nobody, action: 'sign_in.refused', reason: 'UNAUTHENTICATED' },
    ],
    [
      'no token at all',
      null,
      ({ actions }, context) => actions.listActions({}, context),
      undefined,
      { ...nobody, action: 'sign_in.refused', reason: 'UNAUTHENTICATED' },
    ],
    [
      'a caller at a door for services',
      null,
      ({ idempotency }, context) => idempotency.complete(requests.complete, context),
      reader,
      { ...nobody, action: 'sign_in.refused', reason: 'UNAUTHENTICATED' },
    ],
    [
      'a peer that calls for itself what takes a caller, by name',
      peerToken,
      ({ actions }, context) => actions.listActions({}, context),
      undefined,
      { ...nobody, actor: 'peer:tester', action: 'sign_in.refused', reason: 'UNAUTHENTICATED' },
    ],
    [
      'a proof of no peer',
      () => 'forged',
      ({ actions }, context) => actions.listActions({}, context),
      reader,
      { ...nobody, action: 'sign_in.refused', reason: 'UNAUTHENTICATED' },
    ],
  ])('%s', async (_, shown, call, callerToken, refusal) => {
    const context = carrying(callerToken)
    await expect(call(connected(shown), context)).rejects.toMatchObject({ reason: refusal.reason })
    const asked = { requestId: context.requestId, traceId: expect.stringMatching(/^[0-9a-f]{32}$/) as string, source: '127.0.0.1' }
    expect(noted).toEqual([{ ...asked, ...refusal }])
    // A trace that somebody claims who is no service is not taken over.
    expect(noted[0]!.traceId === context.trace.traceId).toBe(shown === peerToken)
  })

  test.each([undefined, 'a caller token'])('a peer that calls what only others may, by name (carrying %s)', async (callerToken) => {
    const method = methodOf('/envoy.service.auth.v3.Authorization/Check')
    const call = { ...carrying(callerToken), method, peerToken: 'actions', peer: undefined, caller: undefined, source: '127.0.0.1' } as Call
    const believing = { ...verifier, peer: (token: string) => token }
    const refused = policy(believing, { note: (refusal) => void noted.push(refusal) })(call, async () => expect.unreachable('it may not'))
    await expect(refused).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
    expect(noted).toEqual([
      expect.objectContaining({ ...nobody, actor: 'peer:actions', action: 'permission.refused', reason: 'PERMISSION_DENIED' }),
    ])
  })

  test('the address that a peer reports, and no address from anyone else', async () => {
    for (const shown of [peerToken, null]) {
      const context = carrying(reader, { source: '203.0.113.9' })
      await expect(connected(shown).actions.executeAction(requests.execute, context)).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
    }
    expect(noted.map(({ source }) => source)).toEqual(['203.0.113.9', '127.0.0.1'])
  })
})

test('the audit log records neither success nor failures of other kinds', async () => {
  const { actions } = connected(null)
  await actions.listActions({}, carrying(reader))
  await expect(actions.listRuns(requests.listRuns, carrying(reader))).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  await expect(actions.getRun({ runId: 'no-uuid' }, carrying(reader))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect(noted).toEqual([])
})
