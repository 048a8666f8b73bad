/** What is refused, in one table: a name, the answer, and the attempt. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { AccessServiceService } from '#gen/relay/access/v1/access.ts'
import { AuditServiceService } from '#gen/relay/access/v1/audit.ts'
import { ActionsServiceService } from '#gen/relay/actions/v1/actions.ts'
import { AuthorizationService } from '#gen/envoy/service/auth/v3/external_auth.ts'
import { IdempotencyServiceService } from '#gen/relay/idempotency/v1/idempotency.ts'
import { newApiKey } from '#mesh/api-key.ts'
import {
  type Answer,
  type Attempt,
  addressOf,
  append,
  asPeer,
  bearer,
  checkOfEnvoy,
  claimWith,
  closeWorld,
  completeForged,
  completeWith,
  create,
  exchange,
  execute,
  flip,
  get,
  grpc,
  hs256,
  http,
  json,
  list,
  listDirectly,
  listForged,
  none,
  openWorld,
  partsOf,
  post,
  preview,
  signedBy,
  tampered,
  toAccess,
  withToken,
  fixture,
} from './attack-fixture.ts'

const unauthenticated = '401 UNAUTHENTICATED'
const denied = '403 PERMISSION_DENIED'
const unknownKey = '404 KEY_NOT_FOUND'

const attacks: [name: string, expected: Answer, attempt: Attempt][] = [
  // What is no key, or none any more.
  ['no Authorization at all', unauthenticated, () => http('GET', '/actions', [])],
  ['an empty Bearer', unauthenticated, () => http('GET', '/actions', ['authorization', 'Bearer '])],
  [
    'another scheme',
    unauthenticated,
    ({ key }) => http('GET', '/actions', ['authorization', `Basic ${Buffer.from(`${key.admin}:`).toString('base64')}`]),
  ],
  ['a word instead of a key', unauthenticated, () => list('letmein')],
  ['a key with a wrong checksum', unauthenticated, ({ key }) => list(flip(key.admin, key.admin.length - 1))],
  ['a key with one wrong character', unauthenticated, ({ key }) => list(flip(key.admin, 15))],
  ['a well-formed key that nobody made', unauthenticated, () => list(newApiKey('local'))],
  ['a well-formed key of another environment', unauthenticated, () => list(newApiKey('prod'))],
  ['a truncated key', unauthenticated, ({ key }) => list(key.admin.slice(0, -3))],
  ['a key with something behind it', unauthenticated, ({ key }) => list(`${key.admin}0`)],
  ['a key in lower case', unauthenticated, ({ key }) => list(key.admin.toLowerCase())],
  ['ten kilobytes of key', unauthenticated, ({ key }) => list(key.admin.repeat(230).slice(0, 10_000))],
  ['a revoked key', unauthenticated, ({ key }) => list(key.revoked)],
  ['an expired key', unauthenticated, ({ key }) => list(key.expired)],
  ['a key rotated out without overlap', unauthenticated, ({ key }) => list(key.rotated)],
  ['a key in the query as api_key', '400 KEY_IN_QUERY', ({ key }) => http('GET', `/actions?api_key=${key.admin}`, [])],
  ['a key in the query beside a header', '400 KEY_IN_QUERY', ({ key }) => get(`/actions?access_token=${key.admin}`, key.admin)],
  ['Authorization twice', '400 HEADER_REPEATED', ({ key }) => list(key.admin, ...bearer(key.viewer))],
  ['a key from an address that it may not be used from', denied, ({ key }) => list(key.elsewhere)],
  ['the same with a forged X-Forwarded-For', denied, ({ key }) => list(key.elsewhere, 'x-forwarded-for', '203.0.113.7')],
  ['the same with a forged x-relay-source', denied, ({ key }) => list(key.elsewhere, 'x-relay-source', '203.0.113.7')],
  ['a caller token in place of a key', unauthenticated, ({ token }) => list(token)],
  ['a peer token in place of a key', unauthenticated, ({ forged }) => list(forged.peerToken('gateway')('actions'))],

  // Beyond the role.
  ['a viewer previews', denied, ({ key }) => preview(key.viewer)],
  ['a viewer executes', denied, ({ key }) => execute(key.viewer)],
  ['a viewer makes a key', denied, ({ key }) => create(key.viewer)],
  ['a viewer lists keys', denied, ({ key }) => get('/access/keys', key.viewer)],
  ['a viewer reads the audit log', denied, ({ key }) => get('/access/audit', key.viewer)],
  ['an operator makes a key', denied, ({ key }) => create(key.operator)],
  ['an operator revokes a key', denied, ({ key, id }) => http('DELETE', `/access/keys/${id.admin}`, bearer(key.operator))],
  ['an operator exports the audit log', denied, ({ key }) => get('/access/audit/export', key.operator)],
  ['a developer reads the audit log', denied, ({ key }) => get('/access/audit', key.developer)],
  ['a preview-only key executes', denied, ({ key }) => execute(key.previewOnly)],
  ['a preview-only key makes a key', denied, ({ key }) => create(key.previewOnly)],
  ['a key narrowed to reading previews', denied, ({ key }) => preview(key.reader)],

  // Wider by one's own hand.
  ['a developer makes an admin', '403 SCOPE_TOO_WIDE', ({ key }) => create(key.developer, { role: 'admin' })],
  ['a key that may only make keys makes an operator', '403 SCOPE_TOO_WIDE', ({ key }) => create(key.keyMaker, { role: 'operator' })],
  ['a developer makes a key for somebody else', '403 ACTOR_NOT_YOURS', ({ key }) => create(key.developer, { actor: 'local' })],
  ['a scope that the role does not have', '400 INVALID_REQUEST', ({ key }) => create(key.admin, { scopes: ['audit:read'] })],
  ['a scope that does not exist', '400 INVALID_REQUEST', ({ key }) => create(key.admin, { role: 'admin', scopes: ['*'] })],
  ['a role that does not exist', '400 INVALID_REQUEST', ({ key }) => create(key.admin, { role: 'root' })],
  ['permissions given directly', '400 INVALID_REQUEST', ({ key }) => create(key.developer, { permissions: ['audit:read'] })],
  ['a workspace given directly', '400 INVALID_REQUEST', ({ key }) => create(key.admin, { workspace: 'other' })],
  [
    'a developer rotates the admin’s key to get its successor',
    unknownKey,
    ({ key, id }) => post(`/access/keys/${id.admin}/rotate`, key.developer, {}),
  ],
  ['a developer revokes the admin’s key', unknownKey, ({ key, id }) => http('DELETE', `/access/keys/${id.admin}`, bearer(key.developer))],
  ['a developer rotates a colleague’s key', unknownKey, ({ key, id }) => post(`/access/keys/${id.colleague}/rotate`, key.developer, {})],

  // Another workspace, another actor.
  ['another workspace’s run', '404 RUN_NOT_FOUND', ({ key, run }) => get(`/actions/runs/${run}`, key.other)],
  [
    'the same with a forged x-relay-workspace',
    '404 RUN_NOT_FOUND',
    ({ key, run }) => get(`/actions/runs/${run}`, key.other, 'x-relay-workspace', 'default'),
  ],
  ['another workspace’s preview', '404 PREVIEW_INVALID', ({ key }) => execute(key.other)],
  ['a colleague’s preview', '404 PREVIEW_INVALID', ({ key }) => execute(key.operator)],
  ['another workspace’s admin revokes a key', unknownKey, ({ key, id }) => http('DELETE', `/access/keys/${id.admin}`, bearer(key.other))],
  ['another workspace’s admin rotates a key', unknownKey, ({ key, id }) => post(`/access/keys/${id.admin}/rotate`, key.other, {})],

  // Past the gateway: what is for services only is not routed, and services let nobody in by a name.
  ['a method of services over HTTP', '404 NOT_FOUND', ({ key }) => post(IdempotencyServiceService.complete.path, key.admin, {})],
  ['the exchange of keys over HTTP', '404 NOT_FOUND', ({ key }) => post(AccessServiceService.exchange.path, key.admin, {})],
  ['an API key shown to a service', 'UNAUTHENTICATED', ({ key }) => listDirectly(key.admin)],
  ['no token shown to a service', 'UNAUTHENTICATED', () => grpc(addressOf('actions'), ActionsServiceService.listActions.path, none, {})],
  ['an operator’s token completes a claim', 'UNAUTHENTICATED', ({ token }) => completeWith(withToken(token))],
  ['an operator’s token claims a key', 'UNAUTHENTICATED', ({ token }) => claimWith(withToken(token))],
  [
    'an operator’s token writes to the audit log',
    'UNAUTHENTICATED',
    ({ token }) => toAccess(AuditServiceService.appendEvents, append, withToken(token)),
  ],
  [
    'an operator’s token follows access’s feed',
    'UNAUTHENTICATED',
    ({ token }) => toAccess(AccessServiceService.follow, none, withToken(token)),
  ],
  [
    'an operator’s token reads the audit log at access itself',
    'PERMISSION_DENIED',
    ({ token }) => toAccess(AuditServiceService.listEvents, none, withToken(token)),
  ],
  [
    'an operator’s token beside a forged peer name',
    'UNAUTHENTICATED',
    ({ token }) => completeWith({ ...withToken(token), ...asPeer('actions') }),
  ],
  ['Envoy’s check by somebody who is not Envoy', 'UNAUTHENTICATED', () => toAccess(AuthorizationService.check, checkOfEnvoy)],
  ['a made-up key at the exchange', 'UNAUTHENTICATED', () => exchange(newApiKey('local'))],
  ['a restricted key at the exchange, with a forged source', 'PERMISSION_DENIED', ({ key }) => exchange(key.elsewhere, '203.0.113.7')],

  // Tokens that the mesh's issuer never signed.
  ['a token with alg none', 'UNAUTHENTICATED', ({ token }) => listDirectly(tampered(token, { header: { alg: 'none' }, signature: '' }))],
  [
    'a token with wider permissions and the old signature',
    'UNAUTHENTICATED',
    ({ token }) => listDirectly(tampered(token, { claims: { perms: ['actions:read', 'keys:admin'] } })),
  ],
  [
    'a token of another workspace and the old signature',
    'UNAUTHENTICATED',
    ({ token }) => listDirectly(tampered(token, { claims: { ws: 'other' } })),
  ],
  ['a token with half a signature', 'UNAUTHENTICATED', ({ token }) => listDirectly(token.slice(0, -40))],
  [
    'a token of the same kid by another key',
    'UNAUTHENTICATED',
    ({ token, forged }) => listDirectly(forged.callerToken({ header: { kid: json(partsOf(token)[0])['kid'] } })),
  ],
  ['a token of a kid that was never published', 'UNAUTHENTICATED', ({ forged }) => listDirectly(forged.callerToken())],

  // Tokens that only their issuer can sign.
  [
    'a token of a kid that was rotated out',
    'UNAUTHENTICATED',
    ({ forged }) => listForged(forged.callerToken({ by: forged.newKey('rotated-out') })),
  ],
  [
    'a token for another audience',
    'UNAUTHENTICATED',
    ({ forged }) => listForged(forged.callerToken({ claims: { aud: 'somewhere-else' } })),
  ],
  ['a token of another issuer', 'UNAUTHENTICATED', ({ forged }) => listForged(forged.callerToken({ claims: { iss: 'relay-actions' } }))],
  ['a token of another kind', 'UNAUTHENTICATED', ({ forged }) => listForged(forged.callerToken({ header: { typ: 'JWT' } }))],
  ['an expired token', 'UNAUTHENTICATED', ({ forged }) => listForged(forged.callerToken({ issuedAtMs: Date.now() - 600_000 }))],
  ['a token issued in the future', 'UNAUTHENTICATED', ({ forged }) => listForged(forged.callerToken({ issuedAtMs: Date.now() + 120_000 }))],
  ['a token that would live for a day', 'UNAUTHENTICATED', ({ forged }) => listForged(forged.callerToken({ lifeS: 86_400 }))],
  ['a token without an end', 'UNAUTHENTICATED', ({ forged }) => listForged(forged.callerToken({ claims: { exp: undefined } }))],
  ['a token without a workspace', 'UNAUTHENTICATED', ({ forged }) => listForged(forged.callerToken({ claims: { ws: '' } }))],
  [
    'a token whose permissions are no list',
    'UNAUTHENTICATED',
    ({ forged }) => listForged(forged.callerToken({ claims: { perms: 'actions:read' } })),
  ],
  ['a token of a revoked API key', 'UNAUTHENTICATED', ({ forged }) => listForged(forged.callerToken({ keyId: 'revoked-key' }))],
  ['a token signed with the public key as a secret', 'UNAUTHENTICATED', ({ forged }) => listForged(hs256(forged))],
  ['a peer token in place of a caller’s', 'UNAUTHENTICATED', ({ forged }) => listForged(forged.peerToken('gateway')('actions'))],
  [
    'a caller without the permission',
    'PERMISSION_DENIED',
    ({ forged }) => listForged(forged.callerToken({ permissions: ['actions:preview'] })),
  ],

  // Services that are not who they say.
  ['a caller token in place of a peer’s', 'UNAUTHENTICATED', ({ forged }) => completeForged(asPeer(forged.callerToken()))],
  ['a peer token for another service', 'UNAUTHENTICATED', ({ forged }) => completeForged(asPeer(forged.peerToken('actions')('ratelimit')))],
  ['a peer token of a service that nobody knows', 'UNAUTHENTICATED', ({ forged }) => completeForged(asPeer(signedBy(forged, 'stranger')))],
  [
    'a service that signs for another',
    'UNAUTHENTICATED',
    ({ forged }) => completeForged(asPeer(signedBy(forged, 'ratelimit', { iss: 'actions', sub: 'actions' }))),
  ],
  [
    'an expired peer token',
    'UNAUTHENTICATED',
    ({ forged }) => completeForged(asPeer(signedBy(forged, 'actions', { iat: 1_700_000_000, exp: 1_700_000_300 }))),
  ],
  [
    'a peer token with alg none',
    'UNAUTHENTICATED',
    ({ forged }) =>
      completeForged(asPeer(tampered(forged.peerToken('actions')('idempotency'), { header: { alg: 'none' }, signature: '' }))),
  ],
]

beforeAll(openWorld, 120_000)
afterAll(closeWorld)

test('there are at least 64 attacks, each with its own name', () => {
  expect(new Set(attacks.map(([name]) => name)).size).toBeGreaterThanOrEqual(64)
  expect(new Set(attacks.map(([name]) => name)).size).toBe(attacks.length)
})

test.each(attacks)('%s is answered with %s', async (_name, expected, attempt) => {
  expect(await attempt(fixture)).toBe(expected)
})

test('the same ways are open to whom they are for, and no attack was delivered', async () => {
  const { key, token, forged, receiver } = fixture
  expect(await list(key.admin)).toBe('200 DONE')
  expect(await listDirectly(token)).toBe('DONE')
  expect(await listForged(forged.callerToken())).toBe('DONE')
  // The handler behind it fails on purpose: it was reached.
  expect(await completeForged(asPeer(forged.peerToken('actions')('idempotency')))).toBe('INTERNAL')
  const before = receiver.deliveries.length
  expect(before).toBe(1)
  expect(await execute(key.admin)).toBe('200 DONE')
  expect(receiver.deliveries.length).toBe(before + 1)
})
