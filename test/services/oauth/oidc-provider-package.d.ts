/** The package comes without types: what the tests use of it. */
declare module 'oidc-provider' {
  import type { IncomingMessage, ServerResponse } from 'node:http'

  interface Model {
    revokeByGrantId(grantId: string): Promise<void>
  }

  interface Grant {
    addOIDCScope(scope: string): void
    rejectOIDCScope(scope: string): void
    /** Its id. */
    save(): Promise<string>
    destroy(): Promise<void>
  }

  interface Context {
    readonly body: unknown
    readonly oidc: { readonly params?: Readonly<Record<string, unknown>> }
  }

  interface Refused extends Error {
    readonly error: string
    readonly error_description?: string
    readonly error_detail?: string
  }

  interface Interaction {
    readonly prompt: { readonly name: string }
    readonly params: { readonly client_id: string; readonly scope: string }
  }

  export class Provider {
    constructor(issuer: string, configuration: object)
    callback(): (request: IncomingMessage, response: ServerResponse) => Promise<void>
    on(event: 'grant.success', listener: (context: Context) => void): this
    on(event: 'grant.error' | 'authorization.error', listener: (context: Context, error: Refused) => void): this
    on(event: 'grant.revoked', listener: (context: Context, grantId: string) => void): this
    interactionDetails(request: IncomingMessage, response: ServerResponse): Promise<Interaction>
    interactionFinished(request: IncomingMessage, response: ServerResponse, result: object): Promise<void>
    readonly AccessToken: Model
    readonly RefreshToken: Model
    readonly Grant: { new (of: { accountId: string; clientId: string }): Grant; find(grantId: string): Promise<Grant | undefined> }
  }
}

declare module 'oidc-provider/lib/adapters/memory_adapter.js' {
  export function createMemoryAdapter(): (model: string) => object
}
