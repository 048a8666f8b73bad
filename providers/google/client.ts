/**
 * Google's own clients (`@googleapis/*`) over our transport. They know paths, parameters and types. How a request leaves, what it waits
 * for, and what its failure says about the effect stay ours (services/actions/adapters/provider-http.ts). They retry nothing, use no
 * credentials of the machine, and are loaded with the first request.
 */
import type { calendar_v3 } from '@googleapis/calendar'
import type { gmail_v1 } from '@googleapis/gmail'
import type { RunHandle } from '../../services/actions/adapter.ts'
import { type ApiResponse, type ApiCall, ApiFailure, type ProviderApi } from '../../services/actions/adapters/provider-http.ts'

interface Clients {
  gmail: gmail_v1.Gmail
  calendar: calendar_v3.Calendar
}

const loaders: { [Name in keyof Clients]: () => Promise<Clients[Name]> } = {
  gmail: async () => (await import('@googleapis/gmail')).gmail({ version: 'v1' }),
  calendar: async () => (await import('@googleapis/calendar')).calendar({ version: 'v3' }),
}
const loaded: { [Name in keyof Clients]?: Promise<Clients[Name]> } = {}

/** The options of the clients that we set: how a request is made. */
interface Options {
  // oxlint-disable-next-line typescript/no-explicit-any -- a response of any of their methods
  adapter: (prepared: { url: URL; method?: string; data?: unknown }) => Promise<any>
  retry: false
}

/** What a request waits for, and records, before it leaves. */
export type RequestOptions = Pick<ApiCall, 'effect' | 'point'>

export interface GoogleClient<Client> {
  /** Sends one request through the client; the response must be parsed. Throws as ProviderApi.call does. */
  request(run: RunHandle, request: (client: Client, options: Options) => Promise<unknown>, waits?: RequestOptions): Promise<ApiResponse>
}

export function googleClient<Name extends keyof Clients>(name: Name, api: ProviderApi): GoogleClient<Clients[Name]> {
  return {
    async request(run, request, waits = {}) {
      loaded[name] ??= loaders[name]() as (typeof loaded)[Name]
      const client = (await loaded[name]) as Clients[Name]
      let answer: ApiResponse | undefined
      let failure: { error: unknown } | undefined
      const adapter: Options['adapter'] = async (prepared) => {
        const { url, method = 'GET', data } = prepared
        const query = Object.fromEntries(url.searchParams)
        try {
          answer = await api.call(run, { ...waits, method: method as ApiCall['method'], path: url.pathname, query, json: data })
        } catch (error) {
          failure = { error }
          throw error
        }
        return Object.assign(new Response(null, { status: answer.status }), { config: prepared, data: answer.json })
      }
      try {
        await request(client, { adapter, retry: false })
      } catch (error) {
        // The client wraps the errors of our transport.
        throw failure === undefined ? error : failure.error
      }
      if (answer === undefined) throw new ApiFailure('not-sent', 'PROVIDER_UNREACHABLE', 'google was not asked.')
      return answer
    },
  }
}
