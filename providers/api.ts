/** What can be done at a provider: where its API is, how it writes errors, and its actions, which fit the port of the actions service. */
import type { Adapter } from '../services/actions/adapter.ts'
import type { ApiParts } from '../services/actions/adapters/provider-http.ts'

export interface ApiFacet {
  readonly baseUrl: {
    /** The variable that says where the API is. */
    readonly variable: string
    readonly doc: string
    readonly default: string
    /** Where the sandbox has its fake; its root where unset. */
    readonly sandboxPath?: string
  }
  // oxlint-disable-next-line typescript/no-explicit-any -- adapters of whatever parameters, as the catalog takes them
  readonly actions: readonly ((parts: ApiParts) => Adapter<any>)[]
}

export type { ApiParts }
