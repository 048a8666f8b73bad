/** `emulate`'s Google and Microsoft, in this process, on ports that only the proxy knows. */
import { randomBytes } from 'node:crypto'
import { createEmulator, type Emulator } from 'emulate'
import { freePort } from '../local/state/state-dir.ts'
import type { SandboxResponse, SandboxRequest } from './http.ts'

/** The providers that `emulate` has. */
export type Emulated = 'google' | 'microsoft'

export interface Client {
  id: string
  secret: string
  redirectUri: string
}

export interface EmulatorsOptions {
  /** The proxy's own URL, which the emulators use as theirs. */
  url: string
  clients: Readonly<Record<Emulated, Client>>
}

/** The accounts that can consent. The examples use the first. */
export const accounts: Readonly<Record<Emulated, readonly { email: string; name: string }[]>> = {
  google: [
    { email: 'you@example.com', name: 'You' },
    { email: 'you-too@example.com', name: 'You Too' },
  ],
  microsoft: [
    { email: 'you@outlook.example.com', name: 'You' },
    { email: 'you-too@outlook.example.com', name: 'You Too' },
  ],
}

export interface Emulators {
  /** Calls an emulator as an account, or without one. */
  ask(provider: Emulated, asked: SandboxRequest, email?: string): Promise<SandboxResponse>
  stop(): Promise<void>
}

const timeoutMs = 30_000
/** The emulator allows each token 5,000 requests per hour: with several tokens this is the limit of one account. */
const bearersEach = 20

export async function startEmulators({ url, clients }: EmulatorsOptions): Promise<Emulators> {
  const started = new Map<Emulated, { emulator: Emulator; at: string }>()
  /** The token of each account at its emulator. These tokens never leave this process. */
  const bearers = new Map<string, string[]>()
  const start = async (service: Emulated): Promise<void> => {
    const tokens: Record<string, { login: string; scopes: string[] }> = {}
    for (const { email } of accounts[service]) {
      const own = Array.from({ length: bearersEach }, () => randomBytes(24).toString('base64url'))
      bearers.set(`${service} ${email}`, own)
      for (const bearer of own) tokens[bearer] = { login: email, scopes: [] }
    }
    const { id, secret, redirectUri } = clients[service]
    const port = await freePort()
    const emulator = await createEmulator({
      service,
      port,
      hostname: '127.0.0.1',
      baseUrl: url,
      seed: {
        tokens,
        [service]: {
          users: accounts[service].map((account) => ({ ...account })),
          oauth_clients: [{ client_id: id, client_secret: secret, name: 'Relay (sandbox)', redirect_uris: [redirectUri] }],
          ...(service === 'google' && {
            calendars: accounts.google.map(({ email }) => ({
              id: 'primary',
              user_email: email,
              summary: email,
              primary: true,
              selected: true,
              time_zone: 'UTC',
            })),
          }),
        },
      },
    })
    started.set(service, { emulator, at: `http://127.0.0.1:${port}` })
  }
  await start('google')
  await start('microsoft')
  return {
    async ask(provider, { method, url: wanted, headers, body }, email) {
      const type = headers['content-type']
      // In turn.
      const own = email === undefined ? undefined : bearers.get(`${provider} ${email}`)
      const bearer = own?.shift()
      if (bearer !== undefined) own!.push(bearer)
      const response = await fetch(started.get(provider)!.at + wanted.pathname + wanted.search, {
        method,
        redirect: 'manual',
        headers: {
          ...(typeof type === 'string' && { 'content-type': type }),
          ...(bearer !== undefined && { authorization: `Bearer ${bearer}` }),
        },
        ...(body.length > 0 && { body: new Uint8Array(body) }),
        signal: AbortSignal.timeout(timeoutMs),
      })
      const kept = ['content-type', 'location', 'cache-control'].flatMap((name): [string, string][] => {
        const value = response.headers.get(name)
        return value === null ? [] : [[name, value]]
      })
      return { status: response.status, headers: Object.fromEntries(kept), body: Buffer.from(await response.arrayBuffer()) }
    },
    async stop() {
      await Promise.all([...started.values()].map(({ emulator }) => emulator.close()))
    },
  }
}
