/** A provider's fake in the sandbox: its consent page, its tokens and its API, as strict as the provider is known to be. Tests use the same one. */
import type { SandboxRequest, SandboxResponse } from '../deploy/sandbox/http.ts'

/** Whose token a call came with. */
export interface Holder {
  readonly email: string
  readonly scopes: readonly string[]
}

export interface SandboxFacet {
  /** Where its paths begin: `/slack`. */
  readonly path: string
  /** Who can consent: the first is whom the examples take. */
  readonly accounts: readonly { email: string; name: string }[]
  /** Below `path`. */
  readonly authorizePath: string
  readonly tokenPath: string
  /** The token response, as the provider writes it. */
  tokenResponse(issued: { accessToken: string; scopes: readonly string[]; email: string }): unknown
  /** The response to a code that is not valid. */
  tokenError(error: string): SandboxResponse
  /** An error of the API. */
  error(status: number, code: string): SandboxResponse
  open(): SandboxApi
}

export interface SandboxApi {
  /** `path` is below the facet's own. The holder's token was issued, and is valid. */
  answer(request: SandboxRequest, path: string, holder: Holder): SandboxResponse
  /** What was posted and created, for the inbox: the oldest first. */
  list(): readonly Post[]
}

/** What was posted or created at a provider that is neither a mail nor an event. */
export interface Post {
  readonly provider: string
  readonly account: string
  readonly id: string
  readonly title: string
  readonly content: Readonly<Record<string, unknown>>
  readonly created_at: string
}
