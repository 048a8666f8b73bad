import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newNonce, writeReference } from '../../../../services/oauth/connect/state-token.ts'
import { Vault } from '../../../../services/oauth/vault/vault.ts'
import { json } from '../authorization-server.ts'
import { type Harness, principal, openHarness, page, returnOrigin, visit } from './harness.ts'

let harness: Harness
beforeAll(async () => {
  harness = await openHarness()
})
afterAll(() => harness.close())

const refusal = (reason: string) => expect.objectContaining({ reason }) as Error
const owner = { workspace: 'acme', actor: 'ann', provider: 'example' }
const wanted = { provider: 'example', scopes: [], returnTo: '' }

describe('authorize', () => {
  test('returns a link on our own origin, for ten minutes, with the requested permissions', async () => {
    const begun = await harness.connectFlow.authorize(principal, wanted)
    expect(begun.startUrl).toMatch(/^https:\/\/relay\.example\.com\/oauth\/start\/YWNtZQ\.[A-Za-z0-9_-]{43}$/)
    expect(begun).toMatchObject({ provider: 'example', scopes: ['openid', 'email', 'offline_access', 'mail'] })
    expect(Math.abs(begun.expiresAt.getTime() - Date.now() - 600_000)).toBeLessThan(5000)
  })

  test('requests fewer scopes if fewer are wanted, but always the account’s identity and a lasting grant', async () => {
    const { scopes } = await harness.connectFlow.authorize(principal, { ...wanted, scopes: ['mail.send'] })
    expect(scopes).toEqual(['openid', 'email', 'offline_access', 'mail.send'])
  })

  test('rejects an unknown provider, an unconfigured one with its missing variables, and an invalid scope', async () => {
    await expect(harness.connectFlow.authorize(principal, { ...wanted, provider: 'nobody' })).rejects.toThrow(refusal('UNKNOWN_PROVIDER'))
    await expect(harness.connectFlow.authorize(principal, { ...wanted, provider: 'unset' })).rejects.toMatchObject({
      reason: 'OAUTH_NOT_CONFIGURED',
      message: expect.stringContaining('UNSET_ID and UNSET_SECRET') as string,
      metadata: { missing: 'UNSET_ID UNSET_SECRET' },
    })
    await expect(harness.connectFlow.authorize(principal, { ...wanted, scopes: ['fine', 'a b'] })).rejects.toMatchObject({
      reason: 'INVALID_REQUEST',
      violations: [{ field: 'scopes.1', description: expect.stringContaining('scopes=a&scopes=b') as string }],
    })
  })

  test('redirects browsers only to listed origins', async () => {
    const elsewhere = ['https://evil.example.com/', `${returnOrigin}.evil.example.com/`, '//studio.example.com/', 'javascript:alert(1)']
    for (const returnTo of elsewhere) {
      await expect(harness.connectFlow.authorize(principal, { ...wanted, returnTo }), returnTo).rejects.toThrow(
        refusal('RETURN_NOT_ALLOWED'),
      )
    }
    await harness.connectFlow.authorize(principal, { ...wanted, returnTo: `${returnOrigin}/settings` })
  })
})

describe('the callback', () => {
  test('connects: encrypted tokens, the granted scopes, an event with the caller, and the browser goes where it was to go', async () => {
    const returnTo = `${returnOrigin}/settings?tab=accounts#top`
    const back = await harness.cameBack({ returnTo, actor: 'happy' }, { refreshToken: 'the-refresh-token', account: 'happy@example.com' })
    const response = await harness.connectFlow.callback(back, visit)
    const found = (await harness.connections.find({ ...owner, actor: 'happy' }))!
    expect(response).toMatchObject({ status: 303, html: '' })
    expect(response.location).toBe(`${returnOrigin}/settings?tab=accounts&connected=example&connection_id=${found.connectionId}#top`)
    expect(response.setCookies).toEqual([expect.stringMatching(/^__Host-relay-oauth-[0-9a-f]{8}=; .*Max-Age=0$/)])
    const scopes = ['openid', 'email', 'offline_access', 'mail']
    expect(found).toMatchObject({ account: 'happy@example.com', status: 'connected', scopes })
    const binding = { workspace: 'acme', connectionId: found.connectionId, kind: 'refresh' as const }
    expect(harness.vault.open(binding, found.tokens.refresh ?? '')).toBe('the-refresh-token')
    const [event] = (await harness.events()).filter(({ actor }) => actor === 'happy')
    expect(event).toMatchObject({ action: 'connection.made', outcome: 'success', keyId: 'key-of-ann', ...visit })
    expect(event!.targets).toEqual([`connection:${found.connectionId}`, 'provider:example'])
  })

  test('shows a page of ours without a return address, with the scopes that were not granted', async () => {
    const back = await harness.cameBack({ provider: 'second', actor: 'page' }, { scopes: 'openid', account: '<b>&"@example.com' })
    const { status, html } = await harness.connectFlow.callback(back, visit)
    expect(status).toBe(200)
    expect(html).toContain('<h1>&lt;Second&gt; &amp; &quot;co&quot; is connected</h1>')
    expect(html).toContain('&lt;b&gt;&amp;&quot;@example.com is connected')
    expect(html).toContain('<li>mail</li>')
    expect(html).not.toContain('<li>openid</li>')
  })

  test('the same account keeps its connection and its refresh token if none came; another account is another connection', async () => {
    const actor = 'again'
    const connect = async (grant: object) => {
      expect((await harness.connectFlow.callback(await harness.cameBack({ actor }, grant), visit)).status).toBe(200)
      return (await harness.connections.find({ ...owner, actor }))!
    }
    const first = await connect({ refreshToken: 'first-refresh' })
    const second = await connect({ refreshToken: null })
    expect(second.connectionId).toBe(first.connectionId)
    expect(second.tokens.refresh).toBe(first.tokens.refresh)
    expect(second.tokens.access).not.toBe(first.tokens.access)
    expect(second.epoch).toBeGreaterThan(first.epoch)
    const third = await connect({ account: 'other@example.com' })
    expect(third.connectionId).not.toBe(first.connectionId)
  })

  test('without any refresh token requests consent once more, and connects then', async () => {
    const actor = 'reconsent'
    const response = await harness.connectFlow.callback(await harness.cameBack({ actor }, { refreshToken: null }), visit)
    expect(response.status).toBe(200)
    expect(await harness.connections.find({ ...owner, actor })).toBeUndefined()
    const startUrl = /href="([^"]+)"/.exec(response.html)![1]!
    expect(startUrl).toMatch(/^https:\/\/relay\.example\.com\/oauth\/start\//)
    const { answer: again, cookie } = await harness.continued(startUrl)
    expect(new URL(again.forward).searchParams.get('prompt')).toBe('consent')
    const back = { provider: 'example', error: '', cookie, ...harness.server.consent(again.forward) }
    expect((await harness.connectFlow.callback(back, visit)).status).toBe(200)
    expect(await harness.connections.find({ ...owner, actor })).toMatchObject({ status: 'connected' })
  })

  test('takes effect once, even for concurrent calls', async () => {
    const back = await harness.cameBack({ actor: 'once' })
    const before = harness.server.tokenRequests.length
    const responses = await Promise.all(Array.from({ length: 50 }, () => harness.connectFlow.callback(back, visit)))
    expect(responses.map(({ status }) => status).toSorted()).toEqual([200, ...Array.from({ length: 49 }, () => 410)])
    expect(harness.server.tokenRequests.length).toBe(before + 1)
  })
})

describe('the callback is rejected', () => {
  let before = 0
  const nothingHappened = async () => {
    expect(harness.server.tokenRequests.length).toBe(before)
    expect(await harness.connections.find({ ...owner, actor: 'refused' })).toBeUndefined()
  }
  const back = async () => {
    const came = await harness.cameBack({ actor: 'refused' })
    before = harness.server.tokenRequests.length
    return came
  }

  test('without the cookie, with another one, or with two of its name: for a browser that did not begin it, which uses up nothing', async () => {
    const variants = [
      () => '',
      () => 'session=abc',
      (cookie: string) => `${cookie.split('=')[0]}=${newNonce()}`,
      (cookie: string) => `${cookie}; ${cookie}`,
      (cookie: string) => cookie.replace('__Host-', ''),
    ]
    for (const variant of variants) {
      const came = await back()
      const response = await harness.connectFlow.callback({ ...came, cookie: variant(came.cookie) }, visit)
      expect(response).toEqual(page('otherBrowser'))
      expect(response.setCookies).toEqual([])
      await nothingHappened()
      expect((await harness.connectFlow.callback(came, visit)).status).toBe(200)
      const { connectionId } = (await harness.connections.find({ ...owner, actor: 'refused' }))!
      await harness.disconnector.disconnect({ ...principal, actor: 'refused' }, connectionId)
    }
  })

  test('with an invalid state, one that was never issued, or one of another workspace', async () => {
    const came = await back()
    const [, nonce] = came.state.split('.')
    expect(await harness.connectFlow.callback({ ...came, state: '' }, visit)).toEqual(page('malformed'))
    expect(await harness.connectFlow.callback({ ...came, state: `${came.state}A` }, visit)).toEqual(page('malformed'))
    expect(await harness.connectFlow.callback({ ...came, state: writeReference('acme', newNonce()) }, visit)).toEqual(page('ended'))
    expect(await harness.connectFlow.callback({ ...came, state: writeReference('other', nonce ?? '') }, visit)).toEqual(page('ended'))
    await nothingHappened()
    // None of that took it from its owner.
    expect((await harness.connectFlow.callback({ ...came, provider: 'example' }, visit)).status).toBe(200)
    const { connectionId } = (await harness.connections.find({ ...owner, actor: 'refused' }))!
    await harness.disconnector.disconnect({ ...principal, actor: 'refused' }, connectionId)
  })

  test('after ten minutes', async () => {
    const came = await back()
    await harness.database.pool.query(`UPDATE connect_steps SET expires_at = expires_at - interval '600 seconds'`)
    expect(await harness.connectFlow.callback(came, visit)).toEqual(page('ended'))
    await nothingHappened()
  })

  test('at another provider than it was sent to, or at an unknown one', async () => {
    const came = await back()
    expect(await harness.connectFlow.callback({ ...came, provider: 'nobody' }, visit)).toEqual(page('unknownProvider'))
    expect(await harness.connectFlow.callback({ ...came, provider: 'second' }, visit)).toEqual(page('refused'))
    await nothingHappened()
  })

  test('from another issuer, even if it reports an error', async () => {
    const iss = 'https://evil.example.com'
    expect(await harness.connectFlow.callback({ ...(await back()), iss }, visit)).toEqual(page('refused'))
    expect(await harness.connectFlow.callback({ ...(await back()), iss, code: '', error: 'access_denied' }, visit)).toEqual(page('refused'))
    await nothingHappened()
  })

  test.each([
    ['access_denied', 'notGranted'],
    ['login_required', 'notGranted'],
    ['temporarily_unavailable', 'unavailable'],
    ['invalid_scope', 'unavailable'],
    ['<script>alert(1)</script>', 'unavailable'],
  ] as const)('with the error %s, of which a page shows nothing', async (error, which) => {
    const response = await harness.connectFlow.callback({ ...(await back()), code: '', error }, visit)
    expect(response).toEqual(page(which))
    expect(response.html).not.toContain(error)
    expect(response.setCookies).toHaveLength(1)
    await nothingHappened()
  })

  test('without a code', async () => {
    expect(await harness.connectFlow.callback({ ...(await back()), code: '' }, visit)).toEqual(page('malformed'))
    await nothingHappened()
  })

  test('with a code of another authorization', async () => {
    const [one, other] = [await back(), await back()]
    expect(await harness.connectFlow.callback({ ...one, code: other.code }, visit)).toEqual(page('ended'))
    expect(await harness.connections.find({ ...owner, actor: 'refused' })).toBeUndefined()
  })

  test.each([
    ['is overloaded', json(429, {}), 'unavailable'],
    ['does not know this installation', json(401, { error: 'invalid_client' }), 'unavailable'],
    ['answers nonsense', json(200, {}), 'unavailable'],
    ['says that the code has ended', json(400, { error: 'invalid_grant' }), 'ended'],
  ] as const)('while the provider %s', async (_, response, which) => {
    harness.server.next('/token', response)
    expect(await harness.connectFlow.callback(await back(), visit)).toEqual(page(which))
    expect(await harness.connections.find({ ...owner, actor: 'refused' })).toBeUndefined()
  })

  test('if the verifier cannot be decrypted: its key was removed, or its row was exchanged', async () => {
    const rekeyed = harness.with({ vault: new Vault([`${randomBytes(32).toString('base64url')}=`]) })
    expect(await rekeyed.callback(await back(), visit)).toEqual(page('ended'))
    const came = await back()
    const other = await back()
    const hash = (state: string) => `sha256('${state.split('.')[1]}'::bytea)`
    await harness.database.pool.query(
      `UPDATE connect_steps SET content = jsonb_set(content::jsonb, '{verifier}',
         (SELECT content::jsonb->'verifier' FROM connect_steps WHERE hash = ${hash(other.state)}))::text WHERE hash = ${hash(came.state)}`,
    )
    expect(await harness.connectFlow.callback(came, visit)).toEqual(page('refused'))
    expect(harness.logged()).toContain('"reason":"context_mismatch"')
    await nothingHappened()
  })
})

test('no secret of all this is in the log, an event or a row', async () => {
  const secrets = [
    ...harness.server.issued,
    'the secret of the client',
    'a text of the provider',
    ...harness.server.tokenRequests.flatMap((body) => ['code', 'code_verifier', 'refresh_token'].map((name) => body.get(name) ?? '')),
  ].filter((secret) => secret !== '')
  expect(secrets.length).toBeGreaterThan(40)
  const everywhere = harness.logged() + (await harness.everything())
  for (const secret of secrets) expect(everywhere).not.toContain(secret)
})

describe('on plain http, which only loopback may use', () => {
  test('the cookie has neither the prefix nor Secure, and binds all the same', async () => {
    const local = await openHarness({ publicUrl: 'http://localhost:8080' })
    const { answer: response } = await local.sentOff()
    expect(response.setCookies[0]).toMatch(/^relay-oauth-[0-9a-f]{8}=[A-Za-z0-9_-]{43}; Path=\/; HttpOnly; SameSite=Lax; Max-Age=600$/)
    const came = await local.cameBack()
    expect((await local.connectFlow.callback({ ...came, cookie: `a=b; ${came.cookie}; c=d` }, visit)).status).toBe(200)
    expect(await local.connectFlow.callback({ ...(await local.cameBack()), cookie: '' }, visit)).toEqual(page('otherBrowser'))
    await local.close()
  })
})
