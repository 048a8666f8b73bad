/** Who may do what, everywhere: keys over HTTP, callers and services at the gRPC ports, and what happens when access is away. */
import { randomUUID } from 'node:crypto'
import { decodeProtectedHeader } from 'jose'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ActionsServiceService } from '#gen/relay/actions/v1/actions.ts'
import { IdempotencyServiceService } from '#gen/relay/idempotency/v1/idempotency.ts'
import { CreateKeyRequest, KeysServiceService } from '#gen/relay/access/v1/keys.ts'
import { type Context, ownContext } from '#mesh/grpc/call.ts'
import type { PeerToken } from '#mesh/grpc/caller.ts'
import { methodsOf } from '#mesh/grpc/client.ts'
import { privateKeyOf } from '#mesh/identity/ed25519.ts'
import { peerTokenOf } from '#mesh/identity/peer-tokens.ts'
import { identityKey } from '../../deploy/local/state/identities.ts'
import { type Receiver, startReceiver } from '../fakes/receiver.ts'
import { type Api, type Journey, type Reply, api, journey, until } from './journey.ts'
import { atPort, exchange, peerTokenIn } from './ports.ts'

let harness: Journey
let receiver: Receiver
beforeAll(async () => {
  receiver = await startReceiver()
  harness = await journey()
})
afterAll(async () => {
  await harness?.end()
  await receiver?.close()
})

/** The HTTP API as the owner of another key has it. */
const as = (apiKey: string): Api => api({ gateways: harness.mesh.gateways, apiKey })
const createKey = async (body: object): Promise<{ id: string; apiKey: string }> => {
  const reply = await harness.api.call('POST', '/access/keys', { body: { name: 'a journey', ...body } })
  if (reply.status !== 200) throw new Error(`no key: ${reply.status} ${reply.text}`)
  return { id: reply.body.key.key_id as string, apiKey: reply.body.api_key as string }
}
const callerOf = (callerToken?: string): Context => ({ ...ownContext(), ...(callerToken !== undefined && { callerToken }) })
const listAtPort = (callerToken?: string, peerToken?: PeerToken) =>
  atPort(harness.mesh, 'actions', (channel) => methodsOf(ActionsServiceService, channel).listActions({}, callerOf(callerToken)), peerToken)
/** "ok", or the name of the code that it was refused with. */
const outcome = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'ok',
    (error: { code: string }) => error.code,
  )
const status = async (reply: Promise<Reply>): Promise<number> => (await reply).status

// Together, since most of their time is the mesh's to pass.
describe.concurrent('keys come and go', () => {
  test('a key over HTTP is made, shown once, used, and rotated with an overlap in which both work', async () => {
    const made = await harness.api.call('POST', '/access/keys', { body: { name: 'ci', role: 'operator' } })
    expect(made.body.api_key).toMatch(/^rly_local_[0-9A-Za-z]{36}$/)
    expect(made.body.key).toMatchObject({ role: 'operator', status: 'active', actor: 'local' })
    const [id, old] = [made.body.key.key_id as string, as(made.body.api_key as string)]
    const execute = async (by: Api) => (await by.execute(await by.previewId(receiver.url))).body.status as string
    expect(await execute(old)).toBe('success')

    const rotated = await harness.api.call('POST', `/access/keys/${id}/rotate`, { body: { overlap: 5 } })
    expect(rotated.body).toMatchObject({ key: { replaces: id, role: 'operator' }, previous: { key_id: id, status: 'active' } })
    const fresh = as(rotated.body.api_key as string)
    expect([await execute(fresh), await execute(old)]).toEqual(['success', 'success'])
    await until(
      () => status(old.list()),
      (code) => code === 401,
      12_000,
    )
    expect(await execute(fresh)).toBe('success')

    const listed = await harness.api.call('GET', '/access/keys')
    expect(listed.body.keys.map(({ key_id, status: each }: { key_id: string; status: string }) => [key_id, each])).toEqual(
      expect.arrayContaining([
        [id, 'expired'],
        [rotated.body.key.key_id, 'active'],
      ]),
    )
    for (const key of [made.body.api_key, rotated.body.api_key]) expect(listed.text).not.toContain(key)
  })

  test('a key is refused everywhere within five seconds of its revocation, also by a token that was given out before', async () => {
    const { id, apiKey } = await createKey({ role: 'viewer' })
    const { token } = await exchange(harness.mesh, apiKey)
    expect([await status(as(apiKey).list()), await outcome(listAtPort(token))]).toEqual([200, 'ok'])
    const revoked = await harness.api.call('DELETE', `/access/keys/${id}`)
    expect(revoked).toMatchObject({ status: 200, body: { key: { status: 'revoked' } } })
    await Promise.all([
      until(
        () => status(as(apiKey).list()),
        (code) => code === 401,
        5000,
      ),
      until(
        () => outcome(listAtPort(token)),
        (code) => code === 'UNAUTHENTICATED',
        5000,
      ),
    ])
    expect(await outcome(exchange(harness.mesh, apiKey))).toBe('UNAUTHENTICATED')
    expect(await status(harness.api.list())).toBe(200)
  })

  test('signing keys of tokens are replaced under load: no request fails, and earlier tokens stay valid', async () => {
    const kid = async () => decodeProtectedHeader((await exchange(harness.mesh, harness.mesh.apiKey)).token).kid!
    const { token: old } = await exchange(harness.mesh, harness.mesh.apiKey)
    const before = await kid()
    const viewer = { workspace: 'default', role: 'viewer', actor: 'rita' } as const
    const keys = await Promise.all(Array.from({ length: 4 }, () => harness.mesh.createKey(viewer)))
    const statuses: number[] = []
    let over = false
    const callers = keys.map(async (key) => {
      while (!over) {
        statuses.push(await status(as(key).list()))
        // A load, not all that the machine has.
        await pause(10)
      }
    })
    try {
      expect(await harness.mesh.operate('relay-access', 'rotate-signing-key')).toMatchObject({ code: 0 })
      // Published first, used once all who verify have heard of it.
      await until(kid, (now) => now !== before, 20_000)
      const { token } = await exchange(harness.mesh, harness.mesh.apiKey)
      for (const each of [token, old]) expect(await outcome(listAtPort(each))).toBe('ok')
    } finally {
      over = true
      await Promise.all(callers)
    }
    expect(statuses.length).toBeGreaterThan(100)
    expect(new Set(statuses)).toEqual(new Set([200]))
  })
})

describe('what only services may call', () => {
  const claim = { key: { workspace: 'default', keyKind: 'client', key: randomUUID() }, runId: randomUUID() } as const
  const complete = (callerToken?: string, peerToken?: PeerToken) =>
    atPort(
      harness.mesh,
      'idempotency',
      (channel) => outcome(methodsOf(IdempotencyServiceService, channel).complete(claim, callerOf(callerToken))),
      peerToken,
    )
  const operator = async () => {
    const apiKey = await harness.mesh.createKey({ workspace: 'default', role: 'operator', actor: 'otto' })
    return { apiKey, token: (await exchange(harness.mesh, apiKey)).token }
  }

  test('an operator cannot, whatever they show', async () => {
    const { apiKey, token } = await operator()
    expect(await outcome(listAtPort(token))).toBe('ok')
    expect(await complete(token)).toBe('UNAUTHENTICATED')
    expect(await complete(apiKey)).toBe('UNAUTHENTICATED')
    expect(await complete(token, () => token)).toBe('UNAUTHENTICATED')
    // A service can.
    expect(await complete(undefined, peerTokenIn(harness.mesh, 'actions'))).not.toMatch(/UNAUTHENTICATED|PERMISSION_DENIED/)
  })

  test('a service’s token is worth nothing elsewhere, under another name, or in place of a caller’s', async () => {
    const ratelimit = peerTokenIn(harness.mesh, 'ratelimit')
    expect(await complete(undefined, () => ratelimit('ratelimit'))).toBe('UNAUTHENTICATED')
    const posing = peerTokenOf('actions', privateKeyOf(identityKey(harness.mesh.folder, 'ratelimit')))
    expect(await complete(undefined, posing)).toBe('UNAUTHENTICATED')
    // Being a service is no permission: what takes callers takes only callers.
    expect(await outcome(listAtPort(undefined, ratelimit))).toBe('UNAUTHENTICATED')
    expect(await outcome(listAtPort(await ratelimit('actions')))).toBe('UNAUTHENTICATED')
    const wanted = CreateKeyRequest.fromPartial({ name: 'x', role: 'viewer' })
    const makeKey = (callerToken?: string) =>
      atPort(
        harness.mesh,
        'access',
        (channel) => outcome(methodsOf(KeysServiceService, channel).createKey(wanted, callerOf(callerToken))),
        ratelimit,
      )
    expect(await makeKey()).toBe('UNAUTHENTICATED')
    expect(await makeKey((await operator()).token)).toBe('PERMISSION_DENIED')
  })
})

describe('roles', () => {
  test('a viewer reads and may not execute; a preview-only key previews and may not execute', async () => {
    const viewer = as(await harness.mesh.createKey({ workspace: 'default', role: 'viewer', actor: 'vera' }))
    const previewer = as(await harness.mesh.createKey({ workspace: 'default', role: 'operator', actor: 'paul', previewOnly: true }))
    const delivered = receiver.deliveries.length
    expect(await status(viewer.list())).toBe(200)
    expect(await viewer.preview(receiver.url)).toMatchObject({ status: 403, body: { reason: 'PERMISSION_DENIED' } })
    expect(await viewer.execute(await harness.api.previewId(receiver.url))).toMatchObject({ status: 403 })
    const prepared = await previewer.previewId(receiver.url)
    expect(await previewer.execute(prepared)).toMatchObject({ status: 403, body: { reason: 'PERMISSION_DENIED' } })
    expect(receiver.deliveries).toHaveLength(delivered)
  })
})

test('another workspace’s previews, runs and keys are not there', async () => {
  const [mine, theirs] = [harness.api, as(await harness.mesh.createKey({ workspace: 'other', role: 'admin', actor: 'olga' }))]
  const previewId = await mine.previewId(receiver.url)
  expect(await theirs.execute(previewId)).toMatchObject({ status: 404, body: { reason: 'PREVIEW_INVALID' } })
  const { body: run } = await mine.execute(previewId)
  const { id } = await createKey({ role: 'viewer' })
  expect(await status(theirs.run(run.run_id as string))).toBe(404)
  for (const [method, path, body] of [
    ['DELETE', `/access/keys/${id}`],
    ['POST', `/access/keys/${id}/rotate`, {}],
  ] as const) {
    expect(await theirs.call(method, path, { body })).toMatchObject({ status: 404, body: { reason: 'KEY_NOT_FOUND' } })
  }
  expect((await theirs.call('GET', '/access/keys')).body.keys).toHaveLength(1)
  expect((await theirs.call('GET', '/actions/runs')).body.runs).toEqual([])
  expect(await status(mine.run(run.run_id as string))).toBe(200)
})

test('while access is unavailable, known callers continue and new ones get 503; once it is back they work, without a restart', async () => {
  const { apiKey: fresh } = await createKey({ role: 'viewer' })
  const previewId = await harness.api.previewId(receiver.url)
  const pids = () => ['gateway', 'actions', 'idempotency', 'ratelimit'].map((name) => harness.mesh.process(name).pid)
  const before = pids()
  await harness.mesh.process('access').kill('SIGKILL')
  expect(await harness.api.execute(previewId)).toMatchObject({ status: 200, body: { status: 'success' } })
  const refused = await as(fresh).list()
  expect(refused).toMatchObject({ status: 503, body: { reason: 'DEPENDENCY_UNAVAILABLE' } })
  expect(refused.headers['retry-after']).toMatch(/^[1-9]\d*$/)
  expect((await harness.api.call('GET', '/ready')).body.checks.access).toBe(false)
  await harness.mesh.process('access').restart()
  await until(
    () => status(as(fresh).list()),
    (code) => code === 200,
  )
  expect(
    (
      await until(
        () => harness.api.call('GET', '/ready'),
        ({ status: code }) => code === 200,
      )
    ).body.checks.access,
  ).toBe(true)
  expect(pids()).toEqual(before)
})
