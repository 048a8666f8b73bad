/**
 * The API facet of a provider: where its API is, how it writes errors, and its actions, which implement the port of the actions service.
 */
import type { Adapter } from '../services/actions/adapter.ts'
import type { ApiParts } from '../services/actions/adapters/provider-http.ts'

export interface ApiFacet {
  readonly baseUrl: {
    /** The variable of the API's URL. */
    readonly variable: string
    readonly doc: string
    readonly default: string
    /** The path of the fake in the sandbox; its root if unset. */
    readonly sandboxPath?: string
  }
  // oxlint-disable-next-line typescript/no-explicit-any -- adapters of any parameters, as the catalog takes them
  readonly actions: readonly ((parts: ApiParts) => Adapter<any>)[]
}

export type { ApiParts }
