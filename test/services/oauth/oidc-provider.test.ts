/** Against an authorization server that others wrote, so that what both sides of a test believe is not believed by us alone. */
import { createHash } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { words } from '../../../services/oauth/connect/pages.ts'
import type { StepKey } from '../../../services/oauth/connect/store.ts'
import { until } from '../../fixtures/mesh/until.ts'
import { type OidcStage, openOidcStage, visit } from './oidc-harness.ts'

let harness: OidcStage
beforeAll(async () => {
  harness = await openOidcStage()
})
afterAll(() => harness.close())
beforeEach(() => {
  harness.server.granted.length = 0
  harness.server.refused.length = 0
  harness.server.ended.length = 0
})

const page = (which: keyof typeof words) => {
  const { status, title } = words[which]
  return expect.objectContaining({ status, location: '', html: expect.stringContaining(`<h1>${title}</h1>`) as string }) as object
}
const refusal = (reason: string, more: object = {}) => expect.objectContaining({ reason, ...more }) as Error
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

describe('connecting', () => {
  test('by discovery, PKCE, a signed id_token and the address that only userinfo has, brings tokens that open something', async () => {
    const { held, access } = await harness.connected('ann')
    expect(held).toMatchObject({ account: 'ann@example.com', status: 'connected', scopes: ['openid', 'email', 'offline_access', 'mail'] })
    expect(harness.server.granted).toEqual(['authorization_code'])
    expect(await harness.server.accepts(access)).toBe(true)
    expect(await harness.token('ann', held.connectionId)).toMatchObject({ accessToken: access, scopes: held.scopes })
  })

  test('says what the person left out', async () => {
    const { status, html } = await harness.callback(await harness.cameBack('picky', { without: 'mail' }))
    expect(status).toBe(200)
    expect(html).toContain('<li>mail</li>')
    expect((await harness.find('picky'))?.scopes).toEqual(['openid', 'email', 'offline_access'])
  })

  test('asks for consent once more where the provider gave nothing that lasts, and connects then', async () => {
    const first = await harness.callback(await harness.cameBack('brief', { provider: 'lasting' }))
    expect(await harness.find('brief', 'lasting')).toBeUndefined()
    const startUrl = /href="([^"]+)"/.exec(first.html)?.[1] ?? ''
    const { location, cookie } = await harness.started(startUrl)
    const back = await harness.server.consent(location, { account: 'brief' })
    expect((await harness.callback({ provider: 'lasting', cookie, ...back })).status).toBe(200)
    expect((await harness.find('brief', 'lasting'))?.tokens.refresh).toBeDefined()
  })
})

describe('does not connect, and leaves what was connected as it is,', () => {
  let [before, access]: [object, string] = [{}, '']
  beforeAll(async () => {
    const connected = await harness.connected('bob')
    ;[before, access] = [connected.held, connected.access]
  })
  /** `refused` is the reason that the provider gave; it is not asked at all where there is none. */
  async function nothingChanged(refused: string[] = []): Promise<void> {
    expect(harness.server.refused).toEqual(refused)
    expect(harness.server.granted).toEqual([])
    expect(await harness.find('bob')).toEqual(before)
    expect(await harness.server.accepts(access)).toBe(true)
  }

  test('with a verifier that the code was not made for; and the right code comes too late after that', async () => {
    const [one, other] = [await harness.cameBack('bob'), await harness.cameBack('bob')]
    expect(await harness.callback({ ...one, code: other.code })).toEqual(page('ended'))
    expect(await harness.callback(one)).toEqual(page('ended'))
    await nothingChanged(['invalid_grant: code_verifier does not match code_challenge'])
  })

  test('with a code that the provider never gave', async () => {
    expect(await harness.callback({ ...(await harness.cameBack('bob')), code: 'x'.repeat(43) })).toEqual(page('ended'))
    await nothingChanged(['invalid_grant: authorization code not found'])
  })

  test('with the code of another client', async () => {
    const [own, others] = [await harness.cameBack('bob'), await harness.cameBack('bob', { provider: 'other' })]
    expect(await harness.callback({ ...own, code: others.code })).toEqual(page('ended'))
    await nothingChanged(['invalid_grant: client mismatch'])
  })

  test('with another redirect URI than the code was given for', async () => {
    const moved = harness.connectingWith({ publicUrl: new URL('https://moved.example.com') })
    expect(await moved.callback(await harness.cameBack('bob'), visit)).toEqual(page('ended'))
    await nothingChanged(['invalid_grant: authorization code redirect_uri mismatch'])
  })

  test('where our redirect URI is not registered: the provider keeps the browser', async () => {
    const { location } = await harness.sentOff('bob', 'unregistered')
    await expect(harness.server.consent(location, { account: 'bob' })).rejects.toThrow('sends nobody back: 400')
    await nothingChanged([expect.stringMatching(/^invalid_redirect_uri: /) as string])
  })

  test('where the person says no', async () => {
    const back = await harness.cameBack('bob', { denies: true })
    expect(back).toMatchObject({ error: 'access_denied', iss: harness.server.url, code: '' })
    expect(await harness.callback(back)).toEqual(page('notGranted'))
    await nothingChanged(['access_denied: the person said no'])
  })

  test.each([
    ['of another issuer', 'https://evil.example.com'],
    ['of almost the same issuer', 'the issuer/'],
    ['of no issuer, although this one always names itself', ''],
  ])('with an answer %s', async (_, iss) => {
    const back = { ...(await harness.cameBack('bob')), iss: iss.replace('the issuer', harness.server.url) }
    expect(await harness.callback(back)).toEqual(page('refused'))
    await nothingChanged()
  })

  test('with the state of another provider, of which nothing is left then', async () => {
    const back = await harness.cameBack('bob', { provider: 'other' })
    expect(await harness.callback({ ...back, provider: 'strict' })).toEqual(page('refused'))
    expect(await harness.callback(back)).toEqual(page('ended'))
    expect(await harness.find('bob', 'other')).toBeUndefined()
    await nothingChanged()
  })
})

describe('a callback that comes twice', () => {
  test('connects once: the second does not get as far as the provider, and costs nothing', async () => {
    const back = await harness.cameBack('carol')
    expect((await harness.callback(back)).status).toBe(200)
    expect(await harness.callback(back)).toEqual(page('ended'))
    expect([harness.server.granted, harness.server.refused]).toEqual([['authorization_code'], []])
    const { held, access } = await harness.opened('carol')
    expect(held.status).toBe('connected')
    expect(await harness.server.accepts(access)).toBe(true)
  })

  test('with a store that lost what was taken, ends the grant, as it should: the next refresh asks to connect anew', async () => {
    const back = await harness.cameBack('dave')
    let kept: string | undefined
    const find = async (key: StepKey) => (kept ??= await harness.steps.find(key))
    const connectFlow = harness.connectingWith({ store: { ...harness.steps, find, take: async () => kept } })
    expect((await connectFlow.callback(back, visit)).status).toBe(200)
    const { connectionId, access } = await harness.opened('dave')
    expect(await connectFlow.callback(back, visit)).toEqual(page('ended'))
    expect(harness.server.refused).toEqual(['invalid_grant: authorization code already consumed'])
    expect(harness.server.ended).toHaveLength(1)
    expect(await harness.server.accepts(access)).toBe(false)
    expect(await harness.find('dave')).toMatchObject({ connectionId, status: 'connected' })
    await expect(harness.token('dave', connectionId, { refused: sha256(access) })).rejects.toThrow(refusal('REAUTH_REQUIRED'))
    expect(await harness.find('dave')).toMatchObject({ connectionId, status: 'reauth_required', reason: 'GRANT_ENDED' })
  })
})

describe('a token', () => {
  /** GetToken for one that the provider's API refused. */
  const refreshed = async (actor: string) => {
    const { connectionId, access } = await harness.opened(actor)
    return harness.token(actor, connectionId, { refused: sha256(access) })
  }
  const asksAnew = refusal('REAUTH_REQUIRED', { metadata: { authorize_path: '/oauth/strict/authorize', reason: 'GRANT_ENDED' } })
  async function ended(actor: string, connectionId: string): Promise<void> {
    const found = (await harness.find(actor))!
    expect(found).toMatchObject({ connectionId, status: 'reauth_required', reason: 'GRANT_ENDED' })
    expect(found.tokens.refresh).toBeUndefined()
    const targets = [`connection:${connectionId}`, 'provider:strict']
    const told = (await harness.events()).filter(({ action, actor: whose }) => whose === actor && action === 'connection.reauth_required')
    expect(told).toEqual([expect.objectContaining({ reason: 'GRANT_ENDED', targets })])
    // From here on nobody asks the provider.
    const asked = harness.server.refused.length
    await expect(harness.token(actor, connectionId)).rejects.toThrow(asksAnew)
    expect(harness.server.refused).toHaveLength(asked)
  }

  test('that the API refused is followed by another, time and again, each with the refresh token of the one before', async () => {
    const first = await harness.connected('erin')
    const second = await refreshed('erin')
    const kept = await harness.opened('erin')
    const third = await refreshed('erin')
    expect(new Set([first.access, second.accessToken, third.accessToken]).size).toBe(3)
    expect(new Set([first.refresh, kept.refresh, (await harness.opened('erin')).refresh]).size).toBe(3)
    expect([harness.server.granted.slice(1), harness.server.refused]).toEqual([['refresh_token', 'refresh_token'], []])
    expect(await harness.server.accepts(third.accessToken)).toBe(true)
    expect(await harness.find('erin')).toMatchObject({ connectionId: first.connectionId, status: 'connected' })
  })

  test('that has expired is refreshed once for all who ask two replicas at the same time', async () => {
    harness.server.life.accessSeconds = 1
    const { connectionId, held, access } = await harness.connected('frank')
    harness.server.life.accessSeconds = 3600
    const expired = async () => Date.now() > held.tokens.accessExpiresAt.getTime() && !(await harness.server.accepts(access))
    await until('the token has expired, here and at the provider', expired)
    const replicas = [harness.replica(), harness.replica()]
    const requests = Array.from({ length: 20 }, (_, n) => harness.token('frank', connectionId, { from: replicas[n % 2]! }))
    const given = new Set((await Promise.all(requests)).map(({ accessToken }) => accessToken))
    expect([harness.server.granted, harness.server.refused]).toEqual([['authorization_code', 'refresh_token'], []])
    expect([...given]).toEqual([(await harness.opened('frank')).access])
    expect(await harness.server.accepts([...given][0]!)).toBe(true)
  })

  test('out of a database that went back in time uses a refresh token again: the grant ends, and its owner connects anew', async () => {
    const { connectionId, held } = await harness.connected('grace')
    const { accessToken } = await refreshed('grace')
    const back = 'UPDATE connections SET refresh_sealed = $2 WHERE connection_id = $1'
    await harness.database.pool.query(back, [connectionId, held.tokens.refresh])
    await expect(refreshed('grace')).rejects.toThrow(asksAnew)
    expect(harness.server.refused).toEqual(['invalid_grant: refresh token already used'])
    expect(await harness.server.accepts(accessToken)).toBe(false)
    await ended('grace', connectionId)
    const anew = await harness.connected('grace')
    expect(anew.held).toMatchObject({ connectionId, status: 'connected', reason: undefined })
    expect(await harness.token('grace', connectionId)).toMatchObject({ accessToken: anew.access })
  })

  test('of a connection whose old refresh token somebody else tried is good no longer', async () => {
    const { connectionId, refresh } = await harness.connected('heidi')
    const { accessToken } = await refreshed('heidi')
    await expect(harness.thief(refresh)).rejects.toMatchObject({ failure: { kind: 'refused', code: 'invalid_grant' } })
    expect(await harness.server.accepts(accessToken)).toBe(false)
    await expect(refreshed('heidi')).rejects.toThrow(asksAnew)
    await ended('heidi', connectionId)
  })

  test('of a grant that the person took back at the provider is good no longer', async () => {
    const { connectionId } = await harness.connected('ivan')
    await harness.server.takeBack('ivan')
    await expect(refreshed('ivan')).rejects.toThrow(asksAnew)
    await ended('ivan', connectionId)
  })

  test('that an installation with the wrong secret asks for is not given, and the connection stands', async () => {
    const { connectionId, access, refresh } = await harness.connected('judy')
    const from = harness.replica({ secret: 'not the secret' })
    await expect(harness.token('judy', connectionId, { refused: sha256(access), from })).rejects.toThrow(refusal('CLIENT_REFUSED'))
    expect(harness.server.refused).toEqual([expect.stringMatching(/^invalid_client: /)])
    const after = await harness.opened('judy')
    expect([after.held.status, after.refresh]).toEqual(['connected', refresh])
    expect(await harness.server.accepts(access)).toBe(true)
  })
})

test('disconnecting ends the grant at the provider: no token of it, however old, is good for anything', async () => {
  const { connectionId, access } = await harness.connected('mallory')
  const { accessToken } = await harness.token('mallory', connectionId, { refused: sha256(access) })
  const { refresh } = await harness.opened('mallory')
  expect(await harness.disconnector.disconnect(harness.principalOf('mallory'), connectionId)).toEqual({ revoked: true })
  // Not the access token's alone, which may have expired long since.
  expect(harness.server.ended).toHaveLength(1)
  for (const token of [access, accessToken]) expect(await harness.server.accepts(token)).toBe(false)
  await expect(harness.thief(refresh)).rejects.toMatchObject({ failure: { kind: 'refused', code: 'invalid_grant' } })
  await expect(harness.token('mallory', connectionId)).rejects.toThrow(refusal('NOT_CONNECTED'))
  expect(await harness.find('mallory')).toBeUndefined()
})

test('nothing that the provider ever gave is in the log, an event or a row', async () => {
  expect(harness.server.issued.length).toBeGreaterThan(40)
  const everywhere = harness.logged() + (await harness.everything())
  for (const token of harness.server.issued) expect(everywhere).not.toContain(token)
})
