/** The sandbox as a journey uses it: what it was asked to send, trouble on order, and accounts that are connected without a browser. */
import { request } from 'undici'
import type { Inbox } from '../../deploy/sandbox/inbox.ts'
import type { ProviderName } from '#providers/list.ts'
import type { Journey } from './journey.ts'

export interface Sandbox {
  inbox(): Promise<Inbox>
  /** Orders trouble (deploy/sandbox/faults.ts). */
  fault(fault: object): Promise<void>
  /** Forgets what trouble was ordered. */
  calm(): Promise<void>
  /** `expire` ends every access token, `revoke` takes back every access. */
  tokens(action: 'expire' | 'revoke'): Promise<void>
  /** Connects an account of the provider: its first where none is named. */
  connect(provider: ProviderName, account?: string): Promise<void>
}

export function sandboxOf({ mesh, api }: Journey): Sandbox {
  const ask = async (method: 'GET' | 'POST' | 'DELETE', path: string, body?: object): Promise<unknown> => {
    const sent = body && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }
    const response = await request(mesh.sandbox + path, { method, ...sent })
    const text = await response.body.text()
    if (response.statusCode >= 400) throw new Error(`${path}: ${response.statusCode} ${text}`)
    return text === '' ? undefined : JSON.parse(text)
  }
  return {
    inbox: async () => (await ask('GET', '/sandbox/inbox')) as Inbox,
    async fault(fault) {
      await ask('POST', '/sandbox/faults', fault)
    },
    async calm() {
      await ask('DELETE', '/sandbox/faults')
    },
    async tokens(action) {
      await ask('POST', '/sandbox/tokens', { action })
    },
    async connect(provider, account) {
      const { body, text } = await api.call('GET', `/oauth/${provider}/authorize`)
      if (body.start_url === undefined) throw new Error(`not connected: ${text}`)
      const visited = (await ask('POST', '/sandbox/consent', { start_url: body.start_url, ...(account !== undefined && { account }) })) as {
        status: number
        page: string
      }
      if (visited.status !== 200) throw new Error(`not connected: ${text} ${visited.status} ${visited.page}`)
    },
  }
}
