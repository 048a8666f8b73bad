/** What a key began ends with the key: its links, the way to the provider and back, and what the provider granted meanwhile. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { keyEndRetentionMs } from '#mesh/api-key.ts'
import { meshErrors } from '#mesh/errors.ts'
import { maxLifetimeS } from '#mesh/identity/token-rules.ts'
import { postgresConnectStore } from '../../../../services/oauth/connect/store.postgres.ts'
import { connectMs } from '../../../../services/oauth/connect/ticket.ts'
import { type Harness, openHarness, page, principal, visit } from './harness.ts'

let harness: Harness
beforeAll(async () => {
  harness = await openHarness()
})
afterAll(() => harness.close())

const wanted = { provider: 'example', scopes: [], returnTo: '' }
let actor: string
let actors = 0
beforeEach(() => (actor = `ann-${(actors += 1)}`))
afterEach(() => {
  harness.revokedKeys.clear()
  vi.useRealTimers()
})
const revoke = () => harness.revokedKeys.add(principal.keyId)
const connection = () => harness.connections.find({ workspace: 'acme', actor, provider: 'example' })
const linkIn = (html: string) => /href="([^"]+)"/.exec(html)![1]!

describe('a revoked key', () => {
  test('invalidates its link: it shows nothing and leads nowhere', async () => {
    const { startUrl } = await harness.connectFlow.authorize({ ...principal, actor }, wanted)
    const ticket = harness.ticketOf(startUrl)
    const shown = await harness.connectFlow.start(ticket, '', visit)
    expect(shown.status).toBe(200)
    revoke()
    expect(await harness.connectFlow.start(ticket, '', visit)).toEqual(page('ended'))
    const sent = { ticket, formToken: harness.formTokenOf(shown), cookie: harness.cookieOf(shown) }
    expect(await harness.connectFlow.proceed(sent, visit)).toEqual(page('ended'))
  })

  test('connects no one who is at the provider: no code is exchanged', async () => {
    const back = await harness.cameBack({ actor })
    const before = harness.server.tokenRequests.length
    revoke()
    expect(await harness.connectFlow.callback(back, visit)).toEqual(page('ended'))
    expect(harness.server.tokenRequests).toHaveLength(before)
    expect(await connection()).toBeUndefined()
  })

  test('during the exchange of the code keeps nothing: the provider is asked to revoke its grant', async () => {
    const back = await harness.cameBack({ actor }, { refreshToken: `granted-too-late-${actor}` })
    let asked = 0
    const connectFlow = harness.with({ keyStands: () => (asked += 1) === 1 })
    expect(await connectFlow.callback(back, visit)).toEqual(page('ended'))
    expect(await connection()).toBeUndefined()
    expect(harness.server.revoked).toContain(`refresh_token granted-too-late-${actor}`)
  })

  test('just before the connection is created leaves nothing of it', async () => {
    const back = await harness.cameBack({ actor }, { refreshToken: `granted-too-late-${actor}` })
    const { connections } = harness
    const tokenRevoker = {
      hasRoom: connections.hasRoom.bind(connections),
      made: connections.made.bind(connections),
      find: async (owner: Parameters<typeof connections.find>[0]) => {
        const before = await connections.find(owner)
        revoke()
        return before
      },
    }
    expect(await harness.with({ connections: tokenRevoker }).callback(back, visit)).toEqual(page('ended'))
    expect(await connection()).toBeUndefined()
    expect(harness.server.revoked).toContain(`refresh_token granted-too-late-${actor}`)
  })

  test('leaves the earlier connection of its owner unchanged', async () => {
    const account = `${actor}@example.com`
    await harness.connectFlow.callback(await harness.cameBack({ actor }, { account, refreshToken: `first-${actor}` }), visit)
    const back = await harness.cameBack({ actor }, { account, refreshToken: `second-${actor}` })
    let asked = 0
    await harness.with({ keyStands: () => (asked += 1) === 1 }).callback(back, visit)
    expect(await connection()).toMatchObject({ status: 'connected', account })
    // Revoking one of them would end the other too.
    expect(harness.server.revoked.filter((each) => each.includes(actor))).toEqual([])
  })

  test('whose state is unknown connects no one, and uses up nothing', async () => {
    const back = await harness.cameBack({ actor })
    const blind = harness.with({
      keyStands: () => {
        throw meshErrors.DEPENDENCY_UNAVAILABLE()
      },
    })
    expect(await blind.callback(back, visit)).toEqual(page('unavailable'))
    expect(await connection()).toBeUndefined()
    expect((await harness.connectFlow.callback(back, visit)).status).toBe(200)
    expect(await connection()).toMatchObject({ status: 'connected' })
  })

  test('ends the link that requests consent once more', async () => {
    const { html } = await harness.connectFlow.callback(await harness.cameBack({ actor }, { refreshToken: null }), visit)
    revoke()
    expect(await harness.connectFlow.start(harness.ticketOf(linkIn(html)), '', visit)).toEqual(page('ended'))
  })
})

describe('connecting ends', () => {
  test('with the key that began it, if that expires first', async () => {
    const keyExpiresAtMs = Date.now() + 60_000
    const begun = await harness.connectFlow.authorize({ ...principal, actor }, { ...wanted, keyExpiresAtMs })
    expect(begun.expiresAt.getTime()).toBe(keyExpiresAtMs)
    const ticket = harness.ticketOf(begun.startUrl)
    expect((await harness.connectFlow.start(ticket, '', visit)).status).toBe(200)
    vi.useFakeTimers({ toFake: ['Date'], now: keyExpiresAtMs })
    expect(await harness.connectFlow.start(ticket, '', visit)).toEqual(page('ended'))
  })

  test('before it begins for a key that has just expired: it gets no link', async () => {
    const late = harness.connectFlow.authorize({ ...principal, actor }, { ...wanted, keyExpiresAtMs: Date.now() })
    await expect(late).rejects.toMatchObject({ reason: 'UNAUTHENTICATED' })
  })

  test('while its key is still remembered: what an old token of the key began just before the end, too', () => {
    expect(keyEndRetentionMs).toBeGreaterThan(connectMs + 1000 * maxLifetimeS)
  })

  test('twenty minutes after it began, whatever was restarted on the way', async () => {
    const began = Date.now()
    vi.useFakeTimers({ toFake: ['Date'], now: began })
    const { answer, cookie } = await harness.sentOff({ actor })
    vi.setSystemTime(began + 9 * 60_000)
    const back = { provider: 'example', error: '', cookie, ...harness.server.consent(answer.forward, { refreshToken: null }) }
    const { html } = await harness.connectFlow.callback(back, visit)
    const ticket = harness.ticketOf(linkIn(html))
    vi.setSystemTime(began + 20 * 60_000 - 1)
    expect((await harness.connectFlow.start(ticket, '', visit)).status).toBe(200)
    vi.setSystemTime(began + 20 * 60_000)
    expect(await harness.connectFlow.start(ticket, '', visit)).toEqual(page('ended'))
  })

  test('if the provider grants no refresh token even after it asked for consent: there is no third time', async () => {
    const { html } = await harness.connectFlow.callback(await harness.cameBack({ actor }, { refreshToken: null }), visit)
    const { answer, cookie } = await harness.continued(linkIn(html))
    const back = { provider: 'example', error: '', cookie, ...harness.server.consent(answer.forward, { refreshToken: null }) }
    expect(await harness.connectFlow.callback(back, visit)).toEqual(page('unavailable'))
    expect(await connection()).toBeUndefined()
    expect(harness.logged()).toContain('grants no refresh token')
  })
})

describe('a link of the previous release, without an end of its own,', () => {
  const legacyLink = async () => {
    const store = postgresConnectStore(harness.database)
    const withoutEnd = (content: string) => JSON.stringify({ ...(JSON.parse(content) as object), endsAt: undefined })
    const legacy = harness.with({ store: { ...store, put: (step) => store.put({ ...step, content: withoutEnd(step.content) }) } })
    return (await legacy.authorize({ ...principal, actor }, wanted)).startUrl
  }

  test('connects', async () => {
    const { answer, cookie } = await harness.continued(await legacyLink())
    const back = { provider: 'example', error: '', cookie, ...harness.server.consent(answer.forward) }
    expect((await harness.connectFlow.callback(back, visit)).status).toBe(200)
    expect(await connection()).toMatchObject({ status: 'connected' })
  })

  test('ends with its key', async () => {
    const startUrl = await legacyLink()
    revoke()
    expect(await harness.connectFlow.start(harness.ticketOf(startUrl), '', visit)).toEqual(page('ended'))
  })
})
