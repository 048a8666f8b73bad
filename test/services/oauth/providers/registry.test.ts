import { inspect } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isIssuer, isUsable, missingScopes, readScopes, withIdentity } from '../../../../services/oauth/providers/provider.ts'
import { declared as declaredIn } from '../../../../services/oauth/config.ts'
import { parseProviders } from '../../../../services/oauth/providers/providers-file.ts'
import { Providers } from '../../../../services/oauth/providers/registry.ts'

const tenant = '9188040d-6c67-4c5b-b112-36a304b66dad'
const variables: Record<string, string> = { GOOGLE_CLIENT_ID: 'id', GOOGLE_CLIENT_SECRET: 'secret', MICROSOFT_CLIENT_ID: 'id' }
const providers = (over: { microsoftTenant?: string; sandbox?: URL } = {}, read = (name: string) => variables[name]) =>
  new Providers(declaredIn(over.sandbox, { MICROSOFT_TENANT: over.microsoftTenant }), read)

describe('Google and Microsoft', () => {
  test('are configured by their variables; one that is not names what is missing', () => {
    expect(providers().get('google')).toMatchObject({ clientId: 'id', issuer: 'https://accounts.google.com' })
    expect(providers().find('microsoft')).toEqual({ missing: ['MICROSOFT_CLIENT_SECRET'] })
    expect(providers({}, () => '').find('google')).toEqual({ missing: ['GOOGLE_CLIENT_ID', 'GOOGLE_CLIENT_SECRET'] })
    expect(providers().find('constructor')).toBeUndefined()
  })

  test('a provider shows its secret to nobody who only writes it down', () => {
    const google = providers({}, (name) => (name === 'GOOGLE_CLIENT_SECRET' ? 'the-secret-itself' : 'id')).get('google')
    expect(google.clientSecret()).toBe('the-secret-itself')
    expect(JSON.stringify(google) + inspect(google, { depth: 9, showHidden: true })).not.toContain('the-secret-itself')
  })

  test('in a sandbox every endpoint is the sandbox’s, at emulate’s paths', () => {
    const sandbox = new URL('http://127.0.0.1:4010')
    const found = providers({ sandbox }, () => 'x')
    const paths = (name: string) => Object.values(found.get(name).endpoints!).map((url: URL) => url.href.replace(sandbox.origin, ''))
    expect(paths('google')).toEqual(['/o/oauth2/v2/auth', '/oauth2/token', '/oauth2/revoke', '/oauth2/v2/userinfo', '/oauth2/v3/certs'])
    expect(paths('microsoft')).toEqual(['/oauth2/v2.0/authorize', '/oauth2/v2.0/token', '/oidc/userinfo', '/discovery/v2.0/keys'])
    expect(found.get('google').issuer).toBe('http://127.0.0.1:4010')
    expect(isIssuer(found.get('microsoft'), `http://127.0.0.1:4010/${tenant}/v2.0`)).toBe(true)
  })

  test('without one, every endpoint is https and plain http will not do', () => {
    for (const name of ['google', 'microsoft']) {
      const { endpoints, allowHttp } = providers({}, () => 'x').get(name)
      expect(allowHttp).toBe(false)
      for (const url of Object.values(endpoints!)) expect(isUsable(url as URL, false)).toBe(true)
    }
  })

  test('one tenant’s accounts are its own; of a tenant that stands for many, any tenant’s', () => {
    const issuerOf = (microsoftTenant: string) => providers({ microsoftTenant }, () => 'x').get('microsoft')
    const other = 'https://login.microsoftonline.com/00000000-0000-4000-8000-000000000000/v2.0'
    expect(isIssuer(issuerOf(tenant), `https://login.microsoftonline.com/${tenant}/v2.0`)).toBe(true)
    expect(isIssuer(issuerOf(tenant), other)).toBe(false)
    expect(isIssuer(issuerOf('common'), other)).toBe(true)
    expect(isIssuer(issuerOf('common'), 'https://login.microsoftonline.com/common/v2.0')).toBe(false)
  })
})

describe('a file of providers', () => {
  const declared = `
providers:
  - name: example
    issuer: https://id.example.com
    client_id_env: EXAMPLE_CLIENT_ID
    client_secret_env: EXAMPLE_CLIENT_SECRET
    scopes: [openid, email, offline_access]
`
  test('adds any that conforms: discovered, or by its endpoints', () => {
    const [example] = parseProviders(declared)
    expect(example).toMatchObject({ name: 'example', title: 'example', endpoints: undefined, clientAuth: 'client_secret_basic' })
    const explicit = `${declared}    endpoints: {authorization: 'https://id.example.com/a', token: 'https://id.example.com/t'}\n`
    expect(parseProviders(explicit)[0]!.endpoints!.token.href).toBe('https://id.example.com/t')
    expect(new Providers(parseProviders(declared), () => undefined).find('example')).toEqual({
      missing: ['EXAMPLE_CLIENT_ID', 'EXAMPLE_CLIENT_SECRET'],
    })
  })

  test.each([
    ['is not YAML', '{', /./],
    ['is empty', '', /providers/],
    ['takes a name that is taken', declared.replace('name: example', 'name: google'), /google/],
    ['says a name twice', declared + declared.split('providers:')[1]!, /example twice/],
    ['has a field that nobody knows', `${declared}    secret: x\n`, /secret/],
    ['writes the secret itself', declared.replace('EXAMPLE_CLIENT_SECRET', 'hunter2'), /client_secret_env/],
    ['has no secret for a client that needs one', declared.replace(/ *client_secret_env.*\n/, ''), /client_secret_env/],
    ['speaks plain http', declared.replace('https://', 'http://'), /https/],
    ['speaks plain http off loopback although it may', `${declared.replace('https://', 'http://')}    allow_http: true\n`, /https/],
    ['sets what protects the request', `${declared}    parameters: {state: x}\n`, /state/],
    ['has a scope with a space', declared.replace('openid,', '"a b",'), /scope/],
    ['is a bomb of aliases', 'a: &a [x, x]\nb: &b [*a, *a]\nproviders: [*b, *b]', /./],
  ])('that %s is refused', (_, yaml, why) => {
    expect(() => parseProviders(yaml)).toThrow(why)
  })
})

describe('scopes', () => {
  test('that were granted in other words count as granted', () => {
    const scopePrefix = 'https://graph.microsoft.com/'
    const granted = readScopes({ scopePrefix }, 'https://graph.microsoft.com/Mail.Send  mail.readwrite openid')
    expect(granted).toEqual(['Mail.Send', 'mail.readwrite', 'openid'])
    const requests = ['openid', 'offline_access', 'Mail.Send', 'Mail.ReadWrite', 'Calendars.ReadWrite']
    expect(missingScopes(requests, granted)).toEqual(['Calendars.ReadWrite'])
  })

  test('that are wanted come with whose account it is, and nothing else', () => {
    expect(withIdentity({ scopes: ['openid', 'email', 'mail', 'calendar'] }, ['mail'])).toEqual(['openid', 'email', 'mail'])
  })

  test('nothing is missing of what was granted as it was asked', () => {
    fc.assert(
      fc.property(fc.array(fc.stringMatching(/^[a-zA-Z.:/]{1,20}$/)), (requests) => {
        expect(missingScopes(requests, readScopes({ scopePrefix: '' }, requests.join(' ')))).toEqual([])
      }),
    )
  })
})

describe('an URL that a provider may be spoken to at', () => {
  test.each([
    ['https://id.example.com/token', false],
    ['http://127.0.0.1:4000/token', true],
    ['http://localhost:4000/token', true],
    ['http://[::1]:4000/token', true],
  ])('%s', (url, allowHttp) => {
    expect(isUsable(new URL(url), allowHttp)).toBe(true)
  })
  test.each([
    'http://127.0.0.1.evil.example/',
    'http://localhost.evil.example/',
    'http://10.0.0.1/',
    'https://a:b@id.example.com/',
    'ftp://127.0.0.1/',
    'https://id.example.com/#x',
  ])('is not %s', (url) => {
    expect(isUsable(new URL(url), true)).toBe(false)
  })
})
