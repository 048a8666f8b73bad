/** Actions that somebody's account acts in: the account that was shown is the one that acts, or nothing is done. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ownContext } from '#mesh/grpc/call.ts'
import { type ConnectedAccount, type ConnectionLookup, connectionWarnings, noConnections } from '../../../services/actions/connections.ts'
import { Catalog } from '../../../services/actions/catalog.ts'
import { Previews } from '../../../services/actions/preview.ts'
import { type Harness, principalOf, execute, openHarness } from './harness.ts'

const account: ConnectedAccount = {
  connectionId: '11111111-0000-4000-8000-000000000001',
  account: 'ada@example.com',
  scopes: ['write'],
  status: 'connected',
  reason: undefined,
}
const authorizePath = '/oauth/google/authorize'
const found = (connection?: ConnectedAccount): ConnectionLookup => ({ configured: true, connection, authorizePath })
const refusal = (reason: string, metadata: object = {}) => expect.objectContaining({ reason, metadata: expect.objectContaining(metadata) })

let harness: Harness
beforeEach(async () => {
  harness = await openHarness()
  harness.ledger.requires = { provider: 'google', scopes: ['write'] }
  harness.connections.found = found(account)
})
afterEach(() => harness.close())

test('the run acts with exactly the connection that was previewed', async () => {
  let acted: string | undefined
  harness.ledger.onExecute = async (run) => {
    acted = run.connectionId
    expect(run.context.requestId).toMatch(/^[0-9a-f-]{36}$/)
    return { status: 'success', result: {} }
  }
  const { run } = await execute(harness.replica(), await harness.preview())
  expect([run.status, acted, run.connectionId]).toEqual(['success', account.connectionId, account.connectionId])
})

describe('an execute does nothing', () => {
  test.each<[string, ConnectionLookup, string, object]>([
    ['nothing is connected any more', found(), 'NOT_CONNECTED', { authorize_path: authorizePath }],
    [
      'another account is connected now',
      found({ ...account, connectionId: '22222222-0000-4000-8000-000000000002' }),
      'CONNECTION_CHANGED',
      {},
    ],
    [
      'the account must be connected again',
      found({ ...account, status: 'reauth_required', reason: 'REVOKED' }),
      'REAUTH_REQUIRED',
      { authorize_path: authorizePath, cause: 'REVOKED' },
    ],
    ['the provider is not configured any more', { configured: false, missing: ['GOOGLE_CLIENT_ID'] }, 'PROVIDER_NOT_CONFIGURED', {}],
  ])('where %s', async (_, now, reason, metadata) => {
    const replica = harness.replica()
    const previewId = await harness.preview()
    harness.connections.found = now
    await expect(execute(replica, previewId, 'k1')).rejects.toEqual(refusal(reason, metadata))
    expect(harness.ledger.effects).toEqual([])
    // Nothing was claimed: the key is good for the day when it is connected again.
    harness.connections.found = found(account)
    expect(await execute(replica, previewId, 'k1')).toMatchObject({ replayed: false, run: { status: 'success' } })
  })

  test('of a preview from before anything was connected, whatever is connected since', async () => {
    const replica = harness.replica()
    harness.connections.found = found()
    const previewId = await harness.preview()
    await expect(execute(replica, previewId)).rejects.toEqual(refusal('NOT_CONNECTED', { authorize_path: authorizePath }))
    harness.connections.found = found(account)
    await expect(execute(replica, previewId)).rejects.toEqual(refusal('CONNECTION_CHANGED'))
    expect(harness.ledger.effects).toEqual([])
  })

  test('while the oauth service is unavailable, but a key that knows its run is answered', async () => {
    const replica = harness.replica()
    const [done, other] = [await harness.preview(), await harness.preview('bread')]
    const { run } = await execute(replica, done, 'k1')
    harness.connections.away = true
    expect(await execute(replica, done, 'k1')).toMatchObject({ replayed: true, run: { runId: run.runId } })
    await expect(execute(replica, other, 'k2')).rejects.toEqual(refusal('DEPENDENCY_UNAVAILABLE'))
    expect(harness.ledger.effects).toHaveLength(1)
  })
})

describe('a preview', () => {
  const preview = () => {
    const previews = new Previews({
      catalog: new Catalog([harness.ledger]),
      store: harness.replica().store,
      connections: harness.connections,
      ttlMs: 60_000,
    })
    return previews.preview({
      action: 'ledger.add',
      params: { note: 'x' },
      principal: principalOf(),
      context: { ...ownContext(), signal: AbortSignal.timeout(5000) },
    })
  }

  test('of a provider that is not configured names the variables', async () => {
    harness.connections.found = { configured: false, missing: ['GOOGLE_CLIENT_ID', 'GOOGLE_CLIENT_SECRET'] }
    await expect(preview()).rejects.toMatchObject({
      reason: 'PROVIDER_NOT_CONFIGURED',
      code: 'UNIMPLEMENTED',
      message: expect.stringContaining('GOOGLE_CLIENT_ID, GOOGLE_CLIENT_SECRET'),
    })
  })

  test('says where to connect if nothing is connected, and to reconnect if necessary', async () => {
    harness.connections.found = found()
    expect((await preview()).warnings).toEqual([expect.stringMatching(/No google account is connected yet.*\/oauth\/google\/authorize/)])
    harness.connections.found = found({ ...account, status: 'reauth_required' })
    expect((await preview()).warnings).toEqual([
      expect.stringMatching(/ada@example\.com must be connected again.*\/oauth\/google\/authorize/),
    ])
  })

  test('of an action without an account calls no service', async () => {
    harness.ledger.requires = undefined
    harness.connections.away = true
    expect((await preview()).warnings).toEqual([])
  })
})

test('missing scopes are named, unless the action describes them better', () => {
  const ready = { configured: true, connection: account, authorizePath } as const
  expect(connectionWarnings({ provider: 'google', scopes: ['write'] }, ready)).toEqual([])
  expect(connectionWarnings({ provider: 'google', scopes: ['write', 'read', 'look'] }, ready)[0]).toMatch(/has not granted read, look/)
  expect(connectionWarnings({ provider: 'google', scopes: ['read'], warn: (granted) => [`only ${granted.join()}`] }, ready)).toEqual([
    'only write',
  ])
})

test('without an oauth service, actions with accounts say what to configure', async () => {
  expect(noConnections.unavailable).toContain('OAUTH_ADDR')
  const owner = { workspace: 'acme', actor: 'ada', provider: 'google' } as const
  expect(await noConnections.find(owner, ownContext())).toEqual({ configured: false, missing: ['OAUTH_ADDR'] })
  await expect(noConnections.token({ ...owner, connectionId: account.connectionId }, ownContext())).rejects.toMatchObject({
    reason: 'PROVIDER_NOT_CONFIGURED',
  })
})
