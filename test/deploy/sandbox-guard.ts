/** A guard in this process, and a client that connects and calls as Relay does. */
import { createHash, randomBytes } from 'node:crypto'
import { type SandboxProxy, type SandboxProxyOptions, startSandbox } from '../../deploy/sandbox/proxy.ts'
import { consent } from './consent.ts'

export type Provider = 'google' | 'microsoft'

const endpoints = {
  google: { authorize: '/o/oauth2/v2/auth', token: '/oauth2/token', email: 'you@example.com' },
  microsoft: { authorize: '/oauth2/v2.0/authorize', token: '/oauth2/v2.0/token', email: 'you@outlook.example.com' },
} as const

export const redirectUri = (provider: Provider): string => `http://127.0.0.1:8080/oauth/${provider}/callback`
export const client = (provider: Provider) => ({ id: 'relay', secret: 's3cret-for-tests', redirectUri: redirectUri(provider) })

export const gmailScopes = ['send', 'compose', 'metadata'].map((name) => `https://www.googleapis.com/auth/gmail.${name}`)
export const scopesOf = {
  google: ['openid', 'email', ...gmailScopes, 'https://www.googleapis.com/auth/calendar.events'].join(' '),
  microsoft: 'openid email offline_access Mail.Send Mail.ReadWrite Calendars.ReadWrite',
}

export interface Tokens {
  access_token: string
  refresh_token?: string
  id_token?: string
  expires_in: number
  scope: string
}

export interface Harness {
  guard: SandboxProxy
  verifier: string
  authorizeUrl(provider: Provider, edit?: Record<string, string | undefined>): URL
  code(provider: Provider, edit?: Record<string, string>): Promise<string>
  token(provider: Provider, form: Record<string, string>): Promise<Response>
  exchange(provider: Provider, code: string, edit?: Record<string, string>): Promise<Response>
  connect(provider: Provider, edit?: Record<string, string>): Promise<Tokens>
  api(token: string, method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Response>
  order(path: string, body: unknown): Promise<Response>
  inbox(): Promise<{ mails: Record<string, unknown>[]; events: Record<string, unknown>[] }>
}

export async function startSandboxHarness(options: Partial<SandboxProxyOptions> = {}): Promise<Harness> {
  const clients = { google: client('google'), microsoft: client('microsoft') }
  const guard = await startSandbox({ clients, accessTtlMs: 3_600_000, ...options })
  const verifier = randomBytes(32).toString('base64url')
  const harness: Harness = {
    guard,
    verifier,
    authorizeUrl(provider, edit = {}) {
      const url = new URL(endpoints[provider].authorize, guard.url)
      const asked: Record<string, string | undefined> = {
        client_id: 'relay',
        redirect_uri: redirectUri(provider),
        response_type: 'code',
        scope: scopesOf[provider],
        state: randomBytes(8).toString('hex'),
        nonce: 'n0nce',
        code_challenge: createHash('sha256').update(verifier).digest('base64url'),
        code_challenge_method: 'S256',
        ...(provider === 'google' && { access_type: 'offline' }),
        ...edit,
      }
      for (const [name, value] of Object.entries(asked)) if (value !== undefined) url.searchParams.set(name, value)
      return url
    },
    async code(provider, edit) {
      const response = await consent(harness.authorizeUrl(provider, edit), endpoints[provider].email)
      return new URL(response.headers.get('location')!).searchParams.get('code')!
    },
    token: (provider, form) =>
      fetch(guard.url + endpoints[provider].token, {
        method: 'POST',
        body: new URLSearchParams({ client_id: 'relay', client_secret: 's3cret-for-tests', ...form }),
      }),
    exchange: (provider, code, edit) =>
      harness.token(provider, {
        grant_type: 'authorization_code',
        code,
        redirect_uri: redirectUri(provider),
        code_verifier: verifier,
        ...edit,
      }),
    async connect(provider, edit) {
      const response = await harness.exchange(provider, await harness.code(provider, edit))
      if (response.status !== 200) throw new Error(`no tokens: ${response.status} ${await response.text()}`)
      return (await response.json()) as Tokens
    },
    api: (token, method, path, body, headers = {}) =>
      fetch(guard.url + path, {
        method,
        headers: { authorization: `Bearer ${token}`, ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      }),
    order: (path, body) =>
      fetch(guard.url + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    async inbox() {
      const response = await fetch(`${guard.url}/sandbox/inbox`)
      return (await response.json()) as Awaited<ReturnType<Harness['inbox']>>
    },
  }
  return harness
}

/** A mail as Gmail takes it. */
export function rawMail(subject: string): string {
  const headers = ['From: you@example.com', 'To: them@example.com', `Subject: ${subject}`, 'Content-Type: text/plain; charset=utf-8']
  return Buffer.from([...headers, '', 'Hello', ''].join('\r\n')).toString('base64url')
}
