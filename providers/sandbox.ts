/**
 * A provider's fake in the sandbox: its consent page, its tokens and its API, as strict as the provider is known to be. Tests use the same
 * fake.
 */
import type { SandboxRequest, SandboxResponse } from '../deploy/sandbox/http.ts'

/** The owner of a call's token. */
export interface Holder {
  readonly email: string
  readonly scopes: readonly string[]
}

export interface SandboxFacet {
  /** The prefix of its paths: `/slack`. */
  readonly path: string
  /** The accounts that can consent. The examples use the first. */
  readonly accounts: readonly { email: string; name: string }[]
  /** Below `path`. */
  readonly authorizePath: string
  readonly tokenPath: string
  /** The token response, in the provider's format. */
  tokenResponse(issued: { accessToken: string; scopes: readonly string[]; email: string }): unknown
  /** The response to an invalid code. */
  tokenError(error: string): SandboxResponse
  /** An error of the API. */
  error(status: number, code: string): SandboxResponse
  open(): SandboxApi
}

export interface SandboxApi {
  /** `path` is below the facet's own. The holder's token was issued, and is valid. */
  answer(request: SandboxRequest, path: string, holder: Holder): SandboxResponse
  /** What was posted and created, for the inbox: oldest first. */
  list(): readonly Post[]
}

/** What was posted or created at a provider, other than a mail or an event. */
export interface Post {
  readonly provider: string
  readonly account: string
  readonly id: string
  readonly title: string
  readonly content: Readonly<Record<string, unknown>>
  readonly created_at: string
}
