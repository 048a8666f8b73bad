import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type SandboxProxy, startSandbox } from '../../../../deploy/sandbox/proxy.ts'
import { missingScopes } from '../../../../services/oauth/providers/provider.ts'
import { oauthProtocol } from '../../../../services/oauth/providers/protocol.ts'
import { declared as declaredProviders } from '../../../../services/oauth/config.ts'
import { Providers } from '../../../../services/oauth/providers/registry.ts'
import { consent } from '../../../deploy/consent.ts'

const redirectUri = (name: string) => `https://relay.example.com/oauth/${name}/callback`
const client = (name: string) => ({ id: 'relay', secret: 'the secret of the sandbox', redirectUri: redirectUri(name) })
const protocol = oauthProtocol({ requestMs: 5000 })

let guard: SandboxProxy
let providers: Providers
beforeAll(async () => {
  guard = await startSandbox({
    clients: { google: client('google'), microsoft: client('microsoft'), slack: client('slack'), github: client('github') },
    accessTtlMs: 3_600_000,
  })
  const declared = declaredProviders(new URL(guard.url))
  providers = new Providers(declared, (variable) => (variable.endsWith('_ID') ? 'relay' : 'the secret of the sandbox'))
})
afterAll(() => guard.stop())

async function connect(name: string, email: string, reconsent: boolean) {
  const provider = providers.get(name)
  const { scopes } = provider
  const [verifier, nonce] = [randomBytes(32).toString('base64url'), randomBytes(32).toString('base64url')]
  const own = { redirectUri: redirectUri(name), verifier, nonce, scopes }
  const url = await protocol.authorizationUrl(provider, { ...own, state: 'a.state', reconsent })
  const back = new URL((await consent(url, email)).headers.get('location')!)
  expect(back.searchParams.get('state')).toBe('a.state')
  return protocol.exchangeCode(provider, { ...own, code: back.searchParams.get('code')!, iss: back.searchParams.get('iss') ?? '' })
}

test.each([
  ['google', 'you@example.com'],
  ['microsoft', 'you@outlook.example.com'],
])('%s: consent, tokens with all that the actions need, the account of its id_token, and a refresh', async (name, email) => {
  const provider = providers.get(name)
  const connected = await connect(name, email, false)
  expect(connected.account).toBe(email)
  expect(missingScopes(provider.scopes, connected.scopes)).toEqual([])
  const refreshed = await protocol.refresh(provider, connected.refreshToken!)
  expect(refreshed.accessToken).not.toBe(connected.accessToken)
  // Microsoft's is another one each time, Google's stays.
  expect(refreshed.refreshToken === undefined).toBe(name === 'google')
})

test('google gives no refresh token to who consented before, but where consent is asked for again', async () => {
  const email = 'you-too@example.com'
  expect((await connect('google', email, false)).refreshToken).toBeDefined()
  expect((await connect('google', email, false)).refreshToken).toBeUndefined()
  expect((await connect('google', email, true)).refreshToken).toBeDefined()
})

test('what google revoked can be refreshed no more; microsoft has nothing to revoke by', async () => {
  const google = providers.get('google')
  const { refreshToken } = await connect('google', 'you@example.com', true)
  expect(await protocol.revoke(google, refreshToken!, 'refresh')).toBe(true)
  const ended = expect.objectContaining({ failure: { kind: 'refused', code: 'invalid_grant', status: 400 } }) as Error
  await expect(protocol.refresh(google, refreshToken!)).rejects.toThrow(ended)
  expect(await protocol.revoke(providers.get('microsoft'), 'any', 'refresh')).toBe(false)
})

test.each([
  ['slack', 'relay@example.slack.example.com', 'relay in Example', 'T0EXAMPLE1/U0RELAY001'],
  ['github', 'you-too@github.example.com', 'you-too', '1000001'],
])('%s: consent, a token that does not expire, and whose it is in the provider’s own words', async (name, email, account, subject) => {
  const provider = providers.get(name)
  const connected = await connect(name, email, false)
  expect(connected).toMatchObject({ account, subject, issuer: provider.issuer, refreshToken: undefined })
  expect(missingScopes(provider.scopes, connected.scopes)).toEqual([])
  // Longer than anybody asks.
  expect(connected.expiresInMs).toBeGreaterThan(50 * 365 * 86_400_000)
})

test.each(['slack', 'github'])(
  '%s: a code that is used twice, and a client that is not known, are what the standard calls them',
  async (name) => {
    const provider = providers.get(name)
    const email = name === 'slack' ? 'relay@example.slack.example.com' : 'you@github.example.com'
    const [verifier, nonce] = [randomBytes(32).toString('base64url'), randomBytes(32).toString('base64url')]
    const own = { redirectUri: redirectUri(name), verifier, nonce, scopes: provider.scopes }
    const url = await protocol.authorizationUrl(provider, { ...own, state: 'a.state', reconsent: false })
    const code = new URL((await consent(url, email)).headers.get('location')!).searchParams.get('code')!
    const failing = (code: string) =>
      expect.objectContaining({ failure: expect.objectContaining({ kind: 'refused', code }) as object }) as Error
    const other = { ...provider, clientSecret: () => 'another secret, as long' }
    await expect(protocol.exchangeCode(other, { ...own, code, iss: '' })).rejects.toThrow(failing('invalid_client'))
    await protocol.exchangeCode(provider, { ...own, code, iss: '' })
    await expect(protocol.exchangeCode(provider, { ...own, code, iss: '' })).rejects.toThrow(failing('invalid_grant'))
  },
)
